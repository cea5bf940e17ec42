"""How fast a model answers: TTFT, TPOT, latency, throughput and MBU, measured on a run.

timing = metrics.measure(model, ids, max_new_tokens=50)
timing.ttft, timing.tpot, timing.latency, timing.throughput, timing.mbu()
"""

import math
import time
from dataclasses import dataclass

import numpy as np

from minigrad.inference.caches import cache_for
from minigrad.inference.generate import stream
from minigrad.perf import peak_bandwidth


def latency(ttft, tpot, n):
    """Seconds until the last of n tokens: TTFT + TPOT · (n − 1).

    The first token is there after TTFT; with TPOT · n it would be counted twice.
    """
    return ttft + tpot * (n - 1)


def mbu(parameter_bytes, cache_bytes, tpot, peak):
    """Memory bandwidth utilisation, ((parameter bytes + cache bytes of the batch)/TPOT)/peak: the
    share of the peak bandwidth (bytes a second) that a decode step makes use of."""
    return (parameter_bytes + cache_bytes) / tpot / peak


def parameter_bytes(model):
    """Bytes of all weights of a model."""
    return sum(parameter.data.nbytes for parameter in model.parameters())


@dataclass(frozen=True, repr=False)
class Timing:
    """When the tokens of a run came, and what follows from that. Its repr is a small table.

    arrivals, seconds from the request to each token (n,), of all texts of the batch at once;
    batch B, how many texts went on side by side; prompt, tokens in the longest prompt (new ones,
    where a cache held others); parameter_bytes; cache_bytes, those that a decode step found in the
    cache, all texts together, in the mean over the steps; peak, the bandwidth to compare with, in
    bytes a second. What is not known is None.
    """

    arrivals: tuple
    batch: int = 1
    prompt: int | None = None
    parameter_bytes: int | None = None
    cache_bytes: float | None = None
    peak: float | None = None

    def __post_init__(self):
        if not self.arrivals:
            raise ValueError("Timing: no token has come, so there is nothing to measure")

    @property
    def n(self):
        """How many tokens each text got."""
        return len(self.arrivals)

    @property
    def ttft(self):
        """Time to first token, in seconds: reading the prompt, mostly."""
        return self.arrivals[0]

    @property
    def tpot(self):
        """Time per output token after the first, in seconds, the mean; NaN for a single token."""
        return (self.arrivals[-1] - self.ttft) / (self.n - 1) if self.n > 1 else math.nan

    @property
    def gaps(self):
        """Seconds between each token and the one before, float64 (n − 1,); their mean is TPOT."""
        return np.diff(self.arrivals)

    @property
    def latency(self):
        """Seconds from the request to the last token: TTFT + TPOT · (n − 1)."""
        return latency(self.ttft, self.tpot, self.n) if self.n > 1 else self.ttft

    @property
    def throughput(self):
        """Tokens a second over the whole run, all texts together: B · n / latency."""
        return self.batch * self.n / self.latency

    def mbu(self, peak=None):
        """Memory bandwidth utilisation of the decode steps, see the function ``mbu``; NaN for a
        single token.

        Arguments: peak, in bytes a second; else that of the timing, else measured on the CPU now.
        Raises ValueError if the run was timed without its model.
        """
        if self.parameter_bytes is None:
            raise ValueError("Timing.mbu: give timed() the model too, whose bytes are to count")
        peak = peak or self.peak or peak_bandwidth()
        return mbu(self.parameter_bytes, self.cache_bytes or 0, self.tpot, peak)

    def __repr__(self):
        return "\n".join(f"{name:<12}{what:<18}{why}".rstrip() for name, what, why in self._rows())

    def _rows(self):
        of = f"{self.batch} × " if self.batch > 1 else ""
        prompt = f"prompt of {of}{self.prompt} tokens" if self.prompt else ""
        yield "TTFT", _seconds(self.ttft), prompt
        if self.n > 1:
            yield "TPOT", _seconds(self.tpot), f"mean of {self.n - 1}"
            yield "latency", _seconds(self.latency), f"TTFT + TPOT × {self.n - 1}"
        yield "throughput", f"{self.throughput:.4g} tokens/s", f"{of}{self.n} in all"
        if self.parameter_bytes is not None and self.n > 1:
            read = self.parameter_bytes + (self.cache_bytes or 0)
            rate = f"{read / 1e6:.4g} MB a step, {read / self.tpot / 1e9:.3g} GB/s"
            if self.peak:
                yield "MBU", f"{self.mbu():.0%}", f"{rate} of {self.peak / 1e9:.3g}"
            else:
                yield "reading", f"{read / self.tpot / 1e9:.3g} GB/s", f"{read / 1e6:.4g} MB a step"


def _seconds(seconds):
    return f"{seconds:.3g} s" if seconds >= 0.9995 else f"{seconds * 1e3:.3g} ms"


class timed:
    """A stream of tokens, each noted when it comes.

        run = metrics.timed(inference.stream(model, ids, 50))
        for token in run:
            print(tokenizer.decode([token]), end="", flush=True)
        print(run.timing.ttft, run.timing.tpot)

    The clock starts when the first token is asked for. What is done between two tokens counts
    towards the second, as it does for whoever waits for it.

    Arguments: stream, an iterable of tokens, or of arrays (B,) with one for each text; model and
    cache, those that the stream works with, for the timing's bytes; prompt, tokens in the prompt;
    peak, bandwidth to compare with, in bytes a second; clock, a function that gives seconds.
    """

    def __init__(
        self, stream, model=None, cache=None, prompt=None, peak=None, clock=time.perf_counter
    ):
        self._stream, self._clock = iter(stream), clock
        self._cache, self._cached, self._start = cache or None, [], None
        self._arrivals, self._batch = [], 1
        self._known = dict(prompt=prompt, peak=peak)
        self._known["parameter_bytes"] = None if model is None else parameter_bytes(model)

    def __iter__(self):
        return self

    def __next__(self):
        if self._start is None:
            self._start = self._clock()
        token = next(self._stream)
        self._arrivals.append(self._clock() - self._start)
        self._batch = np.size(token)
        if self._cache is not None:
            self._cached.append(self._cache.bytes_used)
        return token

    @property
    def timing(self):
        """The Timing of the tokens so far. Raises ValueError before the first."""
        steps = self._cached[1:]  # the first token comes of prefill
        cached = sum(steps) / len(steps) if steps else None
        return Timing(tuple(self._arrivals), self._batch, cache_bytes=cached, **self._known)


def measure(
    model, ids, max_new_tokens, decoding=None, cache=None, warm_up=True, clock=time.perf_counter
):
    """The Timing of ``generate`` with these arguments, on the device where the model is.

    Arguments: model, ids, max_new_tokens (at least 1), decoding and cache as for ``generate``;
    warm_up, whether two tokens are made first that do not count, so that compiling kernels and
    fetching memory is not measured; clock as for ``timed``. The peak bandwidth of the device is
    measured too, once. Raises as ``stream`` does.
    """
    batch, longest = _sizes(ids)
    if cache is None:
        cache = cache_for(model, batch, longest + max(max_new_tokens, 2) - 1)
    past = cache.length if cache else 0
    if warm_up:
        for _ in stream(model, ids, min(max_new_tokens, 2), decoding, cache):
            pass
        if cache:
            cache.truncate(past)
    peak = peak_bandwidth(next(iter(model.parameters())).device)
    tokens = stream(model, ids, max_new_tokens, decoding, cache)
    run = timed(tokens, model, cache, prompt=longest, peak=peak, clock=clock)
    for _ in run:
        pass
    return run.timing


def _sizes(ids):
    """(how many prompts, tokens in the longest); 1 where there are none, for others to refuse."""
    if isinstance(ids, (list, tuple)) and ids and np.ndim(ids[0]):
        return len(ids), max(1, *map(len, ids))
    shape = np.shape(ids)
    return (shape[0] if len(shape) > 1 else 1) or 1, (shape[-1] if shape else 1) or 1
