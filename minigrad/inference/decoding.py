"""How the next token is chosen: what a decoding strategy is, and the simplest one.

A strategy, such as ``Greedy()``, holds settings alone. ``start`` opens a **run** for one batch of
prompts; ``generate`` then asks the run at each step which tokens come next, and in the end what has
come of the prompts. A run may also say which rows go on, and from where: so beam search multiplies
a prompt, drops its worse continuations, and lets the cache follow.
"""

from typing import NamedTuple

import numpy as np


class Step(NamedTuple):
    """What a run decides after each call of the model, about R rows that become R'.

    tokens, int64 (R'), the next token of each row; rows, integers (R'), the row that each goes on
    from, or None to go on as they are; done, whether that was the last step.
    """

    tokens: np.ndarray
    rows: np.ndarray | None = None
    done: bool = False


class Run:
    """One use of a strategy. Rows begin as the prompts do, one a prompt, in their order."""

    #: whether the tokens of a step are final, so that they may be shown before the end
    streams = True

    def next(self, logits, texts):
        """The Step after logits (R, V), finite but for −∞; texts, a list of R int64 arrays, are the
        tokens of each row so far, the prompt's included, without padding."""
        raise NotImplementedError(f"{type(self).__name__} has no next method")

    def result(self, texts):
        """What to return for each prompt, a list of int64 arrays, once the last step is taken;
        texts as for ``next``."""
        return texts


class Decoding:
    """A strategy. Most choose for each row alone and define ``choose``; others define ``start``."""

    def start(self, batch, max_new_tokens, stop):
        """A Run for ``batch`` prompts that takes at most max_new_tokens steps; stop, int64 (S,),
        are the tokens after which a text is complete."""
        return RowByRow(self.choose, batch, stop)

    def choose(self, logits, texts):
        """The next token of each row, integers (R,); arguments as for ``Run.next``."""
        raise NotImplementedError(f"{type(self).__name__} has no choose method")


class RowByRow(Run):
    """Each row goes on by itself until it meets a stop token; the last to stop ends the run.

    Arguments: choose, (logits, texts) -> tokens; batch and stop as for ``Decoding.start``.
    """

    def __init__(self, choose, batch, stop):
        self.choose, self.stop = choose, stop
        self.stopped = np.zeros(batch, bool)
        self.ends = np.zeros(batch, np.int64)  # the length of each text that has stopped

    def next(self, logits, texts):
        """The Step; rows that have stopped repeat their stop token."""
        tokens = np.asarray(self.choose(logits, texts), np.int64)
        tokens = np.where(self.stopped, [text[-1] for text in texts], tokens)
        now = ~self.stopped & np.isin(tokens, self.stop)
        self.ends[now] = [len(text) + 1 for text, ends in zip(texts, now) if ends]
        self.stopped |= now
        return Step(tokens, None, bool(self.stopped.all()))

    def result(self, texts):
        """Each text up to its stop token, which it keeps."""
        return [text[:end] if end else text for text, end in zip(texts, self.ends)]


class Greedy(Decoding):
    """Always the likeliest token; the first of equals."""

    def choose(self, logits, texts):
        return logits.argmax(axis=-1)

    def __repr__(self):
        return "Greedy()"


class SideBySide(Decoding):
    """Each prompt by a strategy of its own, all in one batch: faster than one after the other.

    Argument: strategies, one for each prompt, in their order; none that searches, as BeamSearch
    does, since its rows are more than one a prompt. Raises ValueError, on use, for another number
    of prompts and for a strategy that searches.
    """

    def __init__(self, strategies):
        self.strategies = list(strategies)

    def start(self, batch, max_new_tokens, stop):
        if batch != len(self.strategies):
            raise ValueError(f"SideBySide: {len(self.strategies)} strategies for {batch} prompts")
        runs = [each.start(1, max_new_tokens, stop) for each in self.strategies]

        def choose(logits, texts):
            steps = [run.next(logits[[i]], [texts[i]]) for i, run in enumerate(runs)]
            for strategy, step in zip(self.strategies, steps):
                if step.rows is not None:
                    raise ValueError(f"SideBySide: {strategy!r} needs rows of its own")
            return [step.tokens[0] for step in steps]

        return RowByRow(choose, batch, stop)

    def __repr__(self):
        return f"SideBySide({self.strategies})"
