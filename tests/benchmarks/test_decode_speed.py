"""Speed and memory of SmolLM2, as ratios to transformers measured in one process, by turns.

Run ``pytest tests/benchmarks/test_decode_speed.py --benchmark-only -s`` on two quiet cores, with
SmolLM2 downloaded. Nothing is asserted: a noisy machine is no bug.
"""

import subprocess
import sys
import time

import numpy as np
import pytest
from language_models import WATCH_MEMORY

import minigrad as mg
from minigrad.inference import KVCache
from minigrad.models import store

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(2)

NAME = "smollm2-135m-instruct"
SMOLLM2 = store.cached(NAME)
pytestmark = pytest.mark.skipif(SMOLLM2 is None, reason=f"needs `minigrad download {NAME}`")
PROMPT = np.random.default_rng(0).integers(0, 49_152, (1, 2048))


class Ours:
    """Prefill and decoding in minigrad."""

    def __init__(self):
        self.model = mg.models.load(NAME, tokenizer=False)

    def prefill(self, length):
        self.cache = KVCache(self.model, 1, 2300)
        logits = self.model(PROMPT[:, :length], cache=self.cache, last=True).numpy()
        self.next = logits.argmax(-1)

    def decode(self):
        logits = self.model(self.next, cache=self.cache, last=True).numpy()
        self.next = logits.argmax(-1)


class Theirs:
    """The same in transformers on torch."""

    def __init__(self, folder):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def prefill(self, length):
        self._call(torch.tensor(PROMPT[:, :length]), None)

    def decode(self):
        self._call(self.next, self.cache)

    @torch.no_grad()
    def _call(self, ids, cache):
        out = self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        self.cache, self.next = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)


@pytest.fixture(scope="module")
def ours():
    return Ours()


@pytest.fixture(scope="module")
def theirs(ours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("smollm2")
    mg.models.save(ours.model, folder)
    return Theirs(folder)


def seconds(work, count=1):
    """Seconds of each of some calls."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


class Bandwidth:
    """Bytes per second of a matrix times a vector, half a gigabyte, in NumPy."""

    def __init__(self):
        self.matrix, self.vector = np.ones((16_384, 8192), np.float32), np.ones(8192, np.float32)

    def measure(self):
        return self.matrix.nbytes / min(seconds(lambda: self.matrix @ self.vector, 3))


def described(times):
    return f"{np.median(times) * 1e3:.1f} ms (best {min(times) * 1e3:.1f})"


def test_decoding(ours, theirs, benchmark):
    bandwidth, rates = Bandwidth(), []
    own, other = [], []
    for peer in (ours, theirs):
        peer.prefill(100)
    for _ in range(8):
        seconds(ours.decode, 2)  # wakes the threads
        own += seconds(ours.decode, 12)
        rates.append(bandwidth.measure())
        seconds(theirs.decode, 1)
        other += seconds(theirs.decode, 6)
    benchmark.pedantic(ours.decode, rounds=1)
    moved = 4 * ours.model.num_parameters + ours.cache.bytes_used
    print(f"\ndecode: {described(own)}; transformers {described(other)}")
    print(f"{np.median(other) / np.median(own):.2f} times as fast (must 2.5)", end="")
    print(f", best to best {min(other) / min(own):.2f}")
    share = moved / np.median(own) / np.median(rates)
    print(
        f"{share:.2f} of the memory bandwidth, {np.median(rates) / 1e9:.1f} GB/s (must 0.6)", end=""
    )
    print(f", best to best {moved / min(own) / max(rates):.2f}")


def test_prefill_of_512_tokens(ours, theirs, benchmark):
    own, other = [], []
    for _ in range(6):
        own += seconds(lambda: ours.prefill(512))
        other += seconds(lambda: theirs.prefill(512))
    own, other = own[1:], other[1:]
    benchmark.pedantic(ours.prefill, args=(512,), rounds=1)
    print(f"\nprefill: {described(own)}; transformers {described(other)}")
    print(f"{np.median(other) / np.median(own):.2f} times as fast (must 1.3)", end="")
    print(f", best to best {min(other) / min(own):.2f}")


def test_time_per_token_from_100_to_2000_tokens(ours, benchmark):
    bandwidth, rates, times, held = Bandwidth(), [], {}, {}
    ours.prefill(2000)
    for _ in range(6):
        for length in (2000, 100):
            full = ours.cache
            ours.cache = KVCache(ours.model, 1, 2300)
            for layer in range(full.layers):
                ours.cache.update(layer, *(a[layer, :, :, :length] for a in full._arrays))
            seconds(ours.decode, 2)
            times.setdefault(length, []).extend(seconds(ours.decode, 10))
            held[length] = ours.cache.bytes_used
            ours.cache = full
        rates.append(bandwidth.measure())
    benchmark.pedantic(ours.decode, rounds=1)
    short, long = np.median(times[100]), np.median(times[2000])
    explained = (held[2000] - held[100]) / np.median(rates)
    print(f"\n100 tokens {described(times[100])}, 2,000 tokens {described(times[2000])}")
    print(
        f"{(long - short) / short:.0%} longer, {explained / short:.0%} are explained by bytes",
        end="",
    )
    print(f": {(long - short - explained) / short:.0%} are not (must be below 20%)")


LOAD = """
import numpy as np
from minigrad.inference import generate

begin = time.perf_counter()
model = mg.models.load(sys.argv[1])
print(time.perf_counter() - begin)
weights = 4 * model.num_parameters
print((peak - start) / weights)
generate(model, np.arange(512), 20)
done = True
watcher.join()
print((peak - start) / weights)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading(benchmark):
    runs = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", WATCH_MEMORY + LOAD, SMOLLM2],
            capture_output=True,
            text=True,
            check=True,
        )
        runs.append([float(line) for line in done.stdout.split()])
    benchmark.pedantic(lambda: None, rounds=1)
    load, loaded, used = np.median(runs, axis=0)
    print(f"\nload {load:.2f} s (must 2)")
    print(f"peak memory {loaded:.2f} of the weights (must 1.25)", end="")
    print(f", with a prompt of 512 and 20 new tokens {used:.2f}")
