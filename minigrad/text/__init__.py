"""Tokenizers: text to token ids and back."""

from minigrad.text.characters import CharTokenizer

__all__ = ["CharTokenizer"]
