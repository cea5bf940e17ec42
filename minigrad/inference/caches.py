"""What a model remembers of the tokens so far, so that each new token costs one token's work.

All caches have one interface: ``update`` adds the new positions of one layer and gives all so far;
``length`` is how many tokens every layer has; ``reorder`` and ``truncate`` go back to other rows or
to fewer tokens. A model fills its cache layer by layer; its tokens count once the last layer has
been given them.
"""

import operator

import numpy as np

import minigrad as mg
from minigrad import backend
from minigrad.engine import CONSTANT, Traced


class Cache:
    """Arrays (layers, batch, …, max_length, width) whose first ``length`` places are taken.

    Arguments: model, a Decoder; batch, the number of rows of ids that it will be called with;
    max_length, for how many tokens there is room; dtype, that of the model's weights unless given;
    heads, for each array how many and how wide its heads are. Raises TypeError or ValueError for
    sizes and dtypes that make no cache.
    """

    def __init__(self, model, batch, max_length, dtype, heads):
        name = type(self).__name__
        for value in (batch, max_length):
            if not isinstance(value, (int, np.integer)):
                raise TypeError(
                    f"{name}: batch is {batch!r} and max_length {max_length!r}; expected integers"
                )
        if batch < 1 or max_length < 1:
            raise ValueError(
                f"{name}: batch is {batch} and max_length {max_length}; expected at least 1"
            )
        like = model.token_embedding.weight.data
        dtype = like.dtype if dtype is None else backend.as_dtype(dtype)
        if not backend.is_floating(dtype):
            raise TypeError(f"{name}: dtype is {dtype}; expected a floating-point type")
        layers, empty = model.config.n_layers, backend.array_module(like).empty
        self._arrays = [empty((layers, batch, n, max_length, width), dtype) for n, width in heads]
        self.length = 0

    @property
    def layers(self):
        """How many layers' entries it keeps."""
        return self._arrays[0].shape[0]

    @property
    def batch(self):
        """How many rows, sequences that go on side by side."""
        return self._arrays[0].shape[1]

    @property
    def max_length(self):
        """How many tokens there is room for in each row."""
        return self._arrays[0].shape[3]

    @property
    def dtype(self):
        """The dtype that entries are kept in."""
        return self._arrays[0].dtype

    @property
    def bytes_allocated(self):
        """Bytes of memory that are set aside."""
        return sum(array.nbytes for array in self._arrays)

    @property
    def bytes_used(self):
        """Bytes of the tokens so far: entries per token · item size · tokens · batch."""
        return self.bytes_allocated // self.max_length * self.length

    def _write(self, layer, new):
        """Add one layer's new positions, an array (B, n, L, width) for each of the cache's; gives
        all positions so far."""
        arrays = [self._plain(each) for each in new]
        stop = self.length + arrays[0].shape[2]
        for array, ours in zip(arrays, self._arrays):
            want = (*ours.shape[1:3], stop - self.length, ours.shape[4])
            if array.shape != want:
                self._refuse(f"layer {layer} was given shape {array.shape}, expected {want}")
        if stop > self.max_length:
            self._refuse(
                f"{self.length} of max_length {self.max_length} tokens are taken, "
                f"{stop - self.length} more do not fit"
            )
        for array, ours in zip(arrays, self._arrays):
            ours[layer, :, :, self.length : stop] = array
        if layer == self.layers - 1:
            self.length = stop
        return [mg.Tensor.constant(ours[layer, :, :, :stop]) for ours in self._arrays]

    def _plain(self, value):
        if not isinstance(value, Traced):
            return value
        if value.level != CONSTANT:
            raise TypeError(
                f"{type(self).__name__}: a cache keeps plain numbers, and a derivative would be "
                "lost in it; call the model without a cache, or under no_grad()"
            )
        return value.data

    def _refuse(self, what):
        raise ValueError(f"{type(self).__name__}: {what}")

    def truncate(self, length):
        """Forget all tokens but the first ``length``. Raises ValueError if there are fewer."""
        if not 0 <= operator.index(length) <= self.length:
            self._refuse(f"truncate to {length} tokens, there are {self.length}")
        self.length = operator.index(length)

    def reorder(self, rows, since=0):
        """Let row i go on from what is now row rows[i]: ``rows`` are integers (B',), which may
        repeat rows, leave some out, and change how many there are.

        Arguments: since, a number of tokens that are known to be alike in the rows that change
        places, such as a prompt's, and so need no copying. Raises IndexError for unknown rows.
        """
        rows = np.asarray(rows)
        if rows.ndim != 1 or rows.size == 0 or rows.dtype.kind not in "iu":
            self._refuse(f"rows are {rows.dtype} {rows.shape}, expected integers (B',), B' > 0")
        if not 0 <= rows.min() <= rows.max() < self.batch:
            raise IndexError(
                f"{type(self).__name__}: rows run from {rows.min()} to {rows.max()}, expected 0 to "
                f"{self.batch - 1}"
            )
        if len(rows) != self.batch:
            self._arrays = [self._with_rows(array, rows) for array in self._arrays]
            return
        (moved,) = np.nonzero(rows != np.arange(self.batch))
        for array in self._arrays if moved.size else ():
            for layer in array:  # a layer at a time, for the copy takes memory
                layer[moved, :, since : self.length] = layer[rows[moved], :, since : self.length]

    def _with_rows(self, array, rows):
        fresh = backend.array_module(array).empty(
            (len(array), len(rows), *array.shape[2:]), array.dtype
        )
        for layer, old in zip(fresh, array):
            layer[:, :, : self.length] = old[rows, :, : self.length]
        return fresh

    def __repr__(self):
        return (
            f"{type(self).__name__}(batch {self.batch}, {self.length} of {self.max_length} tokens, "
            f"{self.bytes_used:,} of {self.bytes_allocated:,} bytes)"
        )


class KVCache(Cache):
    """Keys and values of every layer: 2 · n_kv · H · l numbers a token.

    Arguments: model, a GPT or a Llama with ``MultiHeadAttention``, whose n_kv_heads make this the
    cache of multi-head, grouped-query or multi-query attention; batch, max_length and dtype as for
    ``Cache``. Memory is set aside at once.
    """

    def __init__(self, model, batch, max_length, dtype=None):
        c = _config(self, model, latent=False)
        super().__init__(model, batch, max_length, dtype, [(c.n_kv_heads, c.d_head)] * 2)

    def update(self, layer, k, v):
        """Add keys and values (B, n_kv, L, H) of one layer; gives those of all tokens so far, views
        (B, n_kv, length + L, H). Raises ValueError when they do not fit."""
        return self._write(layer, (k, v))


class LatentCache(Cache):
    """Latents and turned key parts of ``MultiHeadLatentAttention``: (d_c + d_R) · l a token.

    Arguments: see KVCache. Both parts stand side by side, so that one row is a whole key.
    """

    def __init__(self, model, batch, max_length, dtype=None):
        c = _config(self, model, latent=True)
        self.d_latent = c.d_latent
        super().__init__(model, batch, max_length, dtype, [(1, c.d_latent + c.d_rope)])

    def update(self, layer, latent, turned):
        """Add latents (B, L, d_c) and turned key parts (B, L, d_R) of one layer; gives, of all
        tokens so far, keys (B, 1, length + L, d_c + d_R) and values (B, 1, length + L, d_c): views
        of the same memory. Raises ValueError when they do not fit."""
        row = np.concatenate([self._plain(latent), self._plain(turned)], axis=-1)
        (keys,) = self._write(layer, (row[:, None],))
        return keys, keys[..., : self.d_latent]


def cache_for(model, batch, max_length, dtype=None):
    """The kind of cache that a model needs: a LatentCache for latent attention, else a KVCache."""
    latent = getattr(getattr(model, "config", None), "d_latent", None) is not None
    return (LatentCache if latent else KVCache)(model, batch, max_length, dtype)


def _config(cache, model, latent):
    name, config = type(cache).__name__, getattr(model, "config", None)
    if not hasattr(config, "n_kv_heads"):
        raise TypeError(
            f"{name}: expected a GPT or a Llama, got {type(model).__name__}, which can do without "
            "(cache=False)"
        )
    if (getattr(config, "d_latent", None) is not None) != latent:
        right = "KVCache" if latent else "LatentCache"
        raise TypeError(f"{name}: this {type(model).__name__}'s attention needs a {right}")
    return config
