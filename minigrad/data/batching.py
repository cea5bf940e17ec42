"""Mini-batches drawn with a seed: windows of a long text, and epochs over a data set."""

import operator

import numpy as np


class TokenBatches:
    """An endless iterator of random windows; :func:`token_batches` describes it."""

    def __init__(self, ids, batch_size, context_length, seed):
        self.ids = _token_ids(ids)
        self.batch_size = _count("token_batches", "batch_size", batch_size)
        self.context_length = _count("token_batches", "context_length", context_length)
        self.seed = seed
        self._generator = np.random.default_rng(seed)
        self._offsets = np.arange(self.context_length + 1)
        if self.ids.size <= self.context_length:
            raise ValueError(
                f"token_batches: {self.ids.size} token ids are too few for windows of "
                f"context_length {self.context_length}; "
                f"at least {self.context_length + 1} are needed"
            )

    def __iter__(self):
        return self

    def __next__(self):
        starts = self._generator.integers(
            self.ids.size - self.context_length, size=(self.batch_size, 1)
        )
        windows = self.ids[starts + self._offsets].astype(np.int64)  # (B, L + 1)
        return windows[:, :-1], windows[:, 1:]

    def state_dict(self):
        """Where the iterator stands: plain numbers, strings and dicts that JSON can hold."""
        return {**self._setting(), "generator": self._generator.bit_generator.state}

    def load_state_dict(self, state):
        """Go on exactly where the iterator that gave ``state`` stood.

        Raises ValueError when ``state`` is not such a state, or when it was taken from another
        text, batch size or context length: the batches that follow would not be the same.
        """
        setting = self._setting()
        missing = [key for key in (*setting, "generator") if key not in state]
        if missing:
            raise ValueError(f"token_batches: not a state of this iterator, it lacks {missing}")
        for key, here in setting.items():
            if state[key] != here:
                raise ValueError(
                    f"token_batches: the state was taken with {key} {state[key]}, "
                    f"this iterator has {here}"
                )
        try:
            self._generator.bit_generator.state = state["generator"]
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"token_batches: the state's generator is damaged: {error}") from error

    def _setting(self):
        return {
            "tokens": int(self.ids.size),
            "batch_size": self.batch_size,
            "context_length": self.context_length,
        }


def token_batches(ids, batch_size, context_length, seed):
    """An endless iterator of random windows of a text, for next-token prediction.

    Args:
        ids: integers (N,), the text as token ids; kept as they are, not copied.
        batch_size: windows in a batch, B.
        context_length: tokens in a window, L; N must be larger.
        seed: of the random starts; the same seed gives the same batches.

    Returns a :class:`TokenBatches`, whose every item is (x, y), both int64 (B, L), y one token
    ahead of x. Its ``state_dict`` and ``load_state_dict`` save and restore where it stands.

    Raises TypeError for ids that are not integers, ValueError for another shape or too few of them.

    >>> x, y = next(token_batches(np.arange(100), batch_size=2, context_length=4, seed=0))
    >>> x.shape, bool((y == x + 1).all())
    ((2, 4), True)
    """
    return TokenBatches(ids, batch_size, context_length, seed)


class Batches:
    """Mini-batches of one epoch at every ``for`` over it; :func:`batches` describes it."""

    def __init__(self, arrays, batch_size, seed, shuffle, drop_last):
        self.arrays = tuple(a if hasattr(a, "shape") else np.asarray(a) for a in arrays)
        self.batch_size = _count("batches", "batch_size", batch_size)
        self.seed, self.shuffle, self.drop_last = seed, shuffle, drop_last
        self.epoch = 0
        self.size = self._common_length()

    def __len__(self):
        full, rest = divmod(self.size, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self):
        order = np.arange(self.size)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        self.epoch += 1
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            picked = tuple(array[chosen] for array in self.arrays)
            yield picked[0] if len(picked) == 1 else picked

    def _common_length(self):
        shapes = [tuple(array.shape) for array in self.arrays]
        if not shapes or () in shapes:
            raise ValueError(f"batches: expected arrays of one axis or more, got shapes {shapes}")
        if len({shape[0] for shape in shapes}) > 1:
            raise ValueError(f"batches: the arrays differ in length along axis 0: shapes {shapes}")
        if self.drop_last and shapes[0][0] < self.batch_size:
            raise ValueError(
                f"batches: batch_size {self.batch_size} is larger than the {shapes[0][0]} items, "
                "so with drop_last nothing would be left"
            )
        return shapes[0][0]


def batches(*arrays, batch_size, seed=0, shuffle=True, drop_last=False):
    """Mini-batches of arrays of one length; every ``for`` over the result is one epoch.

    Args:
        arrays: N items along axis 0 each: x (N, ...), y (N, ...), in any number.
        batch_size: items in a batch, B.
        seed: a non-negative integer; of the order, which differs from epoch to epoch.
        shuffle: False keeps the items in their order.
        drop_last: leave out the last batch of an epoch when it has fewer than B items.

    Returns a :class:`Batches`; its items are tuples with as many arrays as were given (the array
    itself when it was one). ``len`` is the number of batches in an epoch.

    Raises ValueError for arrays of different lengths, or a batch size below one.

    >>> for x, y in batches(np.arange(5), np.arange(5) ** 2, batch_size=2, shuffle=False):
    ...     print(x, y)
    [0 1] [0 1]
    [2 3] [4 9]
    [4] [16]
    """
    return Batches(arrays, batch_size, seed, shuffle, drop_last)


def _token_ids(ids):
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"token_batches: token ids must be integers, got dtype {ids.dtype}")
    if ids.ndim != 1:
        raise ValueError(f"token_batches: expected token ids of shape (N,), got {ids.shape}")
    return ids


def _count(function, name, value):
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{function}: {name} must be an integer, got {value!r}") from None
    if count < 1:
        raise ValueError(f"{function}: {name} must be at least 1, got {count}")
    return count
