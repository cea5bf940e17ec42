"""Data sets that come with the package, and mini-batches drawn from arrays with a seed."""

from minigrad.data.batching import Batches, TokenBatches, batches, token_batches
from minigrad.data.sets import digits, shakespeare

__all__ = ["Batches", "TokenBatches", "batches", "digits", "shakespeare", "token_batches"]
