"""Tokenizers, text to token ids and back; chat templates, conversations to text."""

from minigrad.text.bpe import BPE
from minigrad.text.characters import CharTokenizer
from minigrad.text.chat import ChatTemplate

__all__ = ["BPE", "CharTokenizer", "ChatTemplate"]
