"""Continuing prompts: prefill once, then a token at a time."""

import numpy as np

import minigrad as mg
from minigrad.inference.caches import Cache, cache_for
from minigrad.inference.decoding import Decoding, Greedy


def generate(model, ids, max_new_tokens, decoding=None, cache=None, stop=()):
    """Continue prompts by at most max_new_tokens tokens each.

    Arguments:
        model: a Decoder (GPT or Llama); without a cache, any module of ids (B, L) to (B, L, V).
        ids: integers: one prompt (L,), prompts of one length (B, L), or a list of prompts (L_i,),
            which are padded on the left on their way through the model.
        max_new_tokens: an integer, 0 or more.
        decoding: the strategy, Greedy() unless given.
        cache: None for a new one; one of ``minigrad.inference`` with what came before ``ids``, to
            which all tokens but the last one chosen are added; or False for none at all: then the
            whole text passes the model again at each step.
        stop: token ids after which a text is complete; it keeps the stop token.

    Returns prompts and continuations: int64 (n,) for one prompt, (B, n) for (B, L), where texts
    that stopped early repeat their stop token, and a list of (n_i,) for a list.
    Raises ValueError for an empty prompt and where prompt and new tokens do not fit into the
    context or the cache, TypeError or IndexError for ids that are no tokens, FloatingPointError
    when the model's logits are not finite.
    """
    run = Generation(model, ids, max_new_tokens, decoding, cache, stop)
    for _ in run.steps():
        pass
    texts = run.result()
    if run.form == "list":
        return texts
    longest = max(len(text) for text in texts)
    texts = [np.pad(text, (0, longest - len(text)), mode="edge") for text in texts]
    return texts[0] if run.form == "one" else np.stack(texts)


def stream(model, ids, max_new_tokens, decoding=None, cache=None, stop=()):
    """Yield the new tokens one step at a time, each as soon as it is known.

    Arguments and errors: see ``generate``. Yields ints for one prompt, int64 (B,) for several,
    where texts that have stopped repeat their stop token. Raises ValueError for a strategy that
    knows its tokens only at the end, such as beam search.
    """
    run = Generation(model, ids, max_new_tokens, decoding, cache, stop)
    if not run.run.streams:
        raise ValueError(
            f"stream: {run.decoding!r} knows its tokens only at the end; use generate()"
        )
    return (int(tokens[0]) if run.form == "one" else tokens for tokens in run.steps())


class Generation:
    """The state of one call: the rows of text, the cache behind them, and the strategy's run.

    ids (R, T), padding included; mask (R, T) bool, or None without padding; origin (R,), the prompt
    that each row continues.
    """

    def __init__(self, model, ids, max_new_tokens, decoding, cache, stop):
        prompts, self.form = _prompts(ids)
        self.model, self.max_new_tokens = model, _integer(max_new_tokens)
        if self.max_new_tokens < 0:
            raise ValueError(f"generate: max_new_tokens is {max_new_tokens}, expected 0 or more")
        self.decoding = Greedy() if decoding is None else decoding
        if not isinstance(self.decoding, Decoding):
            raise TypeError(f"generate: decoding is {decoding!r}, expected a Decoding strategy")
        self.ids, self.mask = _padded(prompts)
        self.prompt_length = self.ids.shape[1]
        self.origin = np.arange(len(prompts))
        self.parts = [part for _, part in model.named_modules()]
        self.cache, self.past = self._cache(cache)
        self.run = self.decoding.start(len(prompts), self.max_new_tokens, _stop_tokens(stop))

    def _cache(self, cache):
        """(the cache or None, how many tokens it begins with), if all tokens fit."""
        longest = self.prompt_length + max(self.max_new_tokens - 1, 0)  # the last is not fed back
        if cache is not None and cache is not False and not isinstance(cache, Cache):
            raise TypeError(f"generate: cache is {cache!r}, expected None, False, or a cache")
        past = 0 if cache is None or cache is False else cache.length
        context = getattr(getattr(self.model, "config", None), "context_length", None)
        if context is not None and past + longest > context:
            before = f"{past} tokens in the cache, " if past else ""
            raise ValueError(
                f"generate: {before}a prompt of {self.prompt_length} and {self.max_new_tokens} new "
                f"tokens do not fit into the model's context of {context}"
            )
        if cache is False:
            return None, 0
        if cache is None:
            return cache_for(self.model, len(self.ids), longest), 0
        if cache.batch != len(self.ids):
            raise ValueError(
                f"generate: {len(self.ids)} prompts for a cache of batch {cache.batch}"
            )
        if past + longest > cache.max_length:
            raise ValueError(
                f"generate: {past} tokens in the cache, a prompt of {self.prompt_length} and "
                f"{self.max_new_tokens} new ones do not fit into its max_length {cache.max_length}"
            )
        return cache, past

    def steps(self):
        """Take step after step, yielding the tokens (R,) of each."""
        new = self.ids
        for _ in range(self.max_new_tokens):
            step = self.run.next(self._logits(new), self._texts())
            if step.rows is not None:
                self._follow(np.asarray(step.rows))
            self.ids = np.concatenate([self.ids, step.tokens[:, None]], axis=1)
            if self.mask is not None:
                self.mask = np.pad(self.mask, [(0, 0), (0, 1)], constant_values=True)
            yield step.tokens
            if step.done:
                return
            new = self.ids if self.cache is None else self.ids[:, -1:]

    def result(self):
        """What the strategy has made of each prompt."""
        return self.run.result(self._texts()) if self.max_new_tokens else self._texts()

    def _logits(self, new):
        """The logits (R, V) of what follows the new tokens (R, L), in evaluation mode."""
        options = {}
        if self.cache is not None:
            options = {"cache": self.cache, "last": True}
        if self.mask is not None:
            before = np.ones((len(self.mask), self.past), bool)
            options["mask"] = np.concatenate([before, self.mask], axis=1)
        training = [part for part in self.parts if part.training]
        try:
            for part in training:
                part.training = False
            with mg.no_grad():
                logits = self.model(new, **options).numpy()[:, -1]
        finally:
            for part in training:
                part.training = True
        if not np.isfinite(logits.max(axis=-1)).all():
            raise FloatingPointError(
                "generate: the logits hold NaN or infinity, or nothing but -infinity; the model's "
                "weights have diverged or are damaged"
            )
        return logits

    def _follow(self, rows):
        """Let each row go on from another one."""
        origin = self.origin[rows]
        # Rows of one prompt differ only behind it.
        alike = len(rows) == len(self.origin) and (origin == self.origin).all()
        since = self.past + self.prompt_length if alike else 0
        if self.cache is not None:
            self.cache.reorder(rows, since)
        self.ids, self.origin = self.ids[rows], origin
        self.mask = None if self.mask is None else self.mask[rows]

    def _texts(self):
        """The tokens of each row so far, without padding."""
        if self.mask is None:
            return list(self.ids)
        return [ids[mask] for ids, mask in zip(self.ids, self.mask)]


def _prompts(ids):
    """(list of int64 prompts, the form they were given in: "one", "batch" or "list")."""
    if isinstance(ids, mg.Tensor):
        ids = ids.numpy()
    if ids is None or isinstance(ids, str):
        raise TypeError(
            f"generate: the prompt is {ids!r}, expected token ids; model.tokenizer.encode(text) "
            "makes them"
        )
    ragged = isinstance(ids, (list, tuple)) and any(np.ndim(each) for each in ids)
    if ragged:
        prompts, form = [np.asarray(each) for each in ids], "list"
    else:
        array = np.asarray(ids)
        if array.ndim not in (1, 2):
            raise ValueError(f"generate: ids have shape {array.shape}; expected (L,) or (B, L)")
        prompts, form = list(np.atleast_2d(array)), "one" if array.ndim == 1 else "batch"
    if not prompts:
        raise ValueError("generate: there is no prompt")
    for i, prompt in enumerate(prompts):
        which = "the prompt" if form == "one" else f"prompt {i}"
        if prompt.size == 0:
            raise ValueError(f"generate: {which} is empty; give it at least one token")
        if prompt.ndim != 1 or prompt.dtype.kind not in "iu":
            raise TypeError(
                f"generate: {which} is {prompt.dtype} {prompt.shape}, expected integers (L,)"
            )
    return [prompt.astype(np.int64) for prompt in prompts], form


def _integer(max_new_tokens):
    if not isinstance(max_new_tokens, (int, np.integer)):
        raise TypeError(f"generate: max_new_tokens is {max_new_tokens!r}, expected an integer")
    return int(max_new_tokens)


def _padded(prompts):
    """(ids (B, L), mask (B, L), None if all are True), padding on the left."""
    longest = max(map(len, prompts))
    ids = np.zeros((len(prompts), longest), np.int64)
    mask = np.zeros(ids.shape, bool)
    for row, visible, prompt in zip(ids, mask, prompts):
        row[longest - len(prompt) :] = prompt
        visible[longest - len(prompt) :] = True
    return ids, None if mask.all() else mask


def _stop_tokens(stop):
    tokens = [stop] if not np.iterable(stop) else list(stop)
    if not all(isinstance(t, (int, np.integer)) and not isinstance(t, bool) for t in tokens):
        raise TypeError(f"generate: stop is {stop!r}, expected token ids")
    return np.array(tokens, np.int64)
