"""How fast a model answers: the formulas, what is timed, and the bandwidth of this machine."""

import math

import numpy as np
import pytest

from minigrad import inference, models, perf
from minigrad.cpu import threads
from minigrad.cpu.reading import add_rows
from minigrad.inference import metrics
from minigrad.perf import bandwidth

CONFIG = models.LlamaConfig(
    vocab_size=11,
    context_length=32,
    d_model=8,
    n_heads=4,
    n_kv_heads=2,
    n_layers=3,
    d_hidden=12,
    tie_weights=True,
)


class Clock:
    """Tells these times, one at each call, then the last."""

    def __init__(self, *times):
        self.times = list(times)

    def __call__(self):
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]


@pytest.fixture(scope="module")
def model():
    return models.Llama(CONFIG, seed=3)


@pytest.fixture
def known_peak(monkeypatch):
    monkeypatch.setattr(metrics, "peak_bandwidth", lambda device="cpu": 5e4)


def test_the_metrics_follow_from_when_tokens_came():
    timing = metrics.Timing((0.5, 0.75, 0.875, 1.25))
    assert timing.n == 4
    assert timing.ttft == 0.5
    assert timing.tpot == 0.25
    np.testing.assert_array_equal(timing.gaps, [0.25, 0.125, 0.375])
    assert timing.latency == 1.25 == metrics.latency(ttft=0.5, tpot=0.25, n=4)
    assert timing.throughput == 4 / 1.25


def test_the_first_token_is_counted_once():
    """The lecture's slide has TTFT + TPOT · n."""
    assert metrics.latency(ttft=3.0, tpot=0.5, n=1) == 3.0
    assert metrics.latency(ttft=3.0, tpot=0.5, n=5) == 5.0


def test_throughput_counts_every_text_of_a_batch():
    assert metrics.Timing((1.0, 1.5), batch=6).throughput == 6 * 2 / 1.5


def test_mbu_is_the_formula_of_the_lecture():
    # A 7 B model in float16, 2 GB of cache, 14 ms a token, on 2 TB/s: 16 GB / 14 ms = 1.14 TB/s.
    assert metrics.mbu(14e9, 2e9, 0.014, 2e12) == pytest.approx(0.5714, abs=1e-4)
    timing = metrics.Timing((0.5, 0.7, 0.9), parameter_bytes=600, cache_bytes=200, peak=8000)
    assert timing.mbu() == pytest.approx(800 / 0.2 / 8000)
    assert timing.mbu(peak=4000) == pytest.approx(800 / 0.2 / 4000)


def test_a_single_token_has_a_ttft_and_no_tpot():
    timing = metrics.Timing((0.5,), parameter_bytes=600, peak=8000)
    assert math.isnan(timing.tpot) and math.isnan(timing.mbu())
    assert (timing.latency, timing.throughput, timing.gaps.size) == (0.5, 2.0, 0)


def test_what_cannot_be_said_is_an_error():
    with pytest.raises(ValueError, match="no token has come"):
        metrics.Timing(())
    with pytest.raises(ValueError, match=r"give timed\(\) the model too"):
        metrics.Timing((0.5, 0.7)).mbu(1e9)


def test_the_table():
    timing = metrics.Timing(
        (0.0481, 0.0611, 0.0741), prompt=12, parameter_bytes=538_000_000, cache_bytes=2e6, peak=6e10
    )
    assert repr(timing).splitlines() == [
        "TTFT        48.1 ms           prompt of 12 tokens",
        "TPOT        13 ms             mean of 2",
        "latency     74.1 ms           TTFT + TPOT × 2",
        "throughput  40.49 tokens/s    3 in all",
        "MBU         69%               540 MB a step, 41.5 GB/s of 60",
    ]
    assert repr(metrics.Timing((1.25, 2.5), batch=4, prompt=7)).splitlines() == [
        "TTFT        1.25 s            prompt of 4 × 7 tokens",
        "TPOT        1.25 s            mean of 1",
        "latency     2.5 s             TTFT + TPOT × 1",
        "throughput  3.2 tokens/s      4 × 2 in all",
    ]
    assert repr(metrics.Timing((0.5,))).splitlines() == [
        "TTFT        500 ms",
        "throughput  2 tokens/s        1 in all",
    ]


def test_a_stream_is_timed_from_the_first_request_for_a_token():
    asked = []

    def tokens():
        for token in (7, 5, 9):
            asked.append(token)
            yield token

    clock = Clock(100.0, 101.5, 102.0, 103.0)
    run = metrics.timed(tokens(), clock=clock)
    assert (asked, len(clock.times)) == ([], 4)
    with pytest.raises(ValueError, match="no token has come"):
        _ = run.timing
    assert next(run) == 7
    assert run.timing.arrivals == (1.5,)
    assert list(run) == [5, 9]
    assert run.timing.arrivals == (1.5, 2.0, 3.0)
    assert run.timing.batch == 1
    assert list(run) == []


def test_a_stream_of_several_texts_is_a_batch():
    run = metrics.timed(iter([np.array([1, 2, 3]), np.array([4, 5, 6])]), clock=Clock(0, 1, 3))
    assert len(list(run)) == 2
    assert (run.timing.batch, run.timing.n, run.timing.throughput) == (3, 2, 2.0)


def test_parameter_bytes_count_each_weight_once(model):
    width, hidden, layers = 8, 12, 3
    attention = width * (8 + 4 + 4 + 8)
    numbers = 11 * width + layers * (attention + 3 * width * hidden + 2 * width) + width
    assert metrics.parameter_bytes(model) == 4 * numbers


@pytest.mark.parametrize("shape", ["one", "batch", "list"])
def test_measure_times_generation_and_counts_the_bytes_a_step_reads(model, known_peak, shape):
    prompts = {
        "one": np.array([1, 2, 3]),
        "batch": np.array([[1, 2, 3], [4, 5, 6]]),
        "list": [np.array([1, 2]), np.array([4, 5, 6])],
    }
    clock = Clock(10.0, 11.0, 11.5, 11.75, 12.5)
    timing = metrics.measure(model, prompts[shape], max_new_tokens=4, clock=clock)
    batch = 1 if shape == "one" else 2
    assert timing.arrivals == (1.0, 1.5, 1.75, 2.5)
    assert (timing.batch, timing.prompt, timing.peak) == (batch, 3, 5e4)
    a_token = 2 * 2 * 2 * 3 * 4  # 2 · n_kv · H · l · bytes
    assert timing.cache_bytes == batch * a_token * (4 + 5 + 6) / 3
    assert timing.parameter_bytes == metrics.parameter_bytes(model)
    read = timing.parameter_bytes + timing.cache_bytes
    assert timing.mbu() == pytest.approx(read / 0.5 / 5e4)


def test_measure_leaves_a_cache_as_generate_does(model, known_peak):
    ids, first = np.array([3, 1, 4, 1, 5]), np.array([2, 7, 1, 8])
    caches = [inference.KVCache(model, 1, 20) for _ in range(2)]
    for cache in caches:
        model(first[None], cache=cache)
    inference.generate(model, ids, 3, cache=caches[0])
    timing = metrics.measure(model, ids, 3, cache=caches[1])
    assert [cache.length for cache in caches] == [11, 11]
    assert timing.cache_bytes == caches[1].bytes_used / 11 * (10 + 11) / 2
    after = [model(np.array([[2]]), cache=cache).numpy() for cache in caches]
    np.testing.assert_array_equal(*after)


def test_measure_warms_up_unless_told_not_to(model, known_peak, monkeypatch):
    calls = []

    def stream(model, ids, n, *how):
        calls.append(n)
        return inference.stream(model, ids, n, *how)

    monkeypatch.setattr(metrics, "stream", stream)
    metrics.measure(model, np.array([1, 2]), 5)
    metrics.measure(model, np.array([1, 2]), 5, warm_up=False)
    assert calls == [2, 5, 5]


def test_measure_without_a_cache(model, known_peak):
    timing = metrics.measure(model, np.array([1, 2]), 3, cache=False, clock=Clock(0, 1, 2, 3))
    assert timing.cache_bytes is None
    assert timing.mbu() == pytest.approx(metrics.parameter_bytes(model) / 1 / 5e4)


def test_measure_refuses_what_stream_refuses(model, known_peak):
    with pytest.raises(ValueError, match="knows its tokens only at the end"):
        metrics.measure(model, np.array([1, 2]), 3, inference.BeamSearch(2))
    with pytest.raises(ValueError, match="the prompt is empty"):
        metrics.measure(model, np.array([], int), 3)
    with pytest.raises(ValueError, match="do not fit"):
        metrics.measure(model, np.array([1, 2]), 300)
    with pytest.raises(ValueError, match="no token has come"):
        metrics.measure(model, np.array([1, 2]), 0)


def test_the_fastest_of_several_runs_counts():
    times = [0, 3, 10, 12, 20, 21, 30, 34]
    runs = []
    clock = Clock(*times)
    assert bandwidth.fastest(lambda: runs.append(1), clock, seconds=0, fewest=4) == 1
    assert len(runs) == 4
    assert bandwidth.fastest(lambda: None, Clock(0, 3, 10, 12, 20, 21), seconds=5, fewest=1) == 2


def test_the_kernel_that_only_reads_reads_every_number():
    x = np.arange(35, dtype=np.float32).reshape(5, 7)
    out = np.full(5, -1, np.float32)
    add_rows(1, 4, x, out)
    np.testing.assert_array_equal(out, [-1, *x[1:4].sum(axis=1), -1])


def test_peak_bandwidth_is_bytes_a_second_measured_once(device, monkeypatch):
    monkeypatch.setitem(bandwidth.SIZE, device, 8 << 20)
    monkeypatch.setattr(bandwidth, "SECONDS", 0.0)
    bandwidth._measured.cache_clear()
    try:
        peak = perf.peak_bandwidth(device)
        assert 1e7 < peak < 1e14
        assert perf.peak_bandwidth(device) == peak
        if device == "cpu":
            threads.set_num_threads(1)
            assert perf.peak_bandwidth() != peak
    finally:
        threads.set_num_threads(None)
        bandwidth._measured.cache_clear()


def test_a_device_that_is_not_there_has_no_bandwidth():
    with pytest.raises((ValueError, RuntimeError), match="tpu"):
        perf.peak_bandwidth("tpu")
