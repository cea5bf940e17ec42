"""Models built from the layers of ``minigrad.nn``."""

from minigrad.models.gpt import GPT, GPTConfig

__all__ = ["GPT", "GPTConfig"]
