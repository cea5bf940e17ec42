"""Models built from the layers of ``minigrad.nn``; pretrained ones are loaded from files."""

from minigrad.models.decoder import Decoder
from minigrad.models.gpt import GPT, GPTConfig
from minigrad.models.llama import Llama, LlamaConfig
from minigrad.models.loading import load
from minigrad.models.saving import save

__all__ = ["GPT", "Decoder", "GPTConfig", "Llama", "LlamaConfig", "load", "save"]
