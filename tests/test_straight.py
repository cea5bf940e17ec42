"""The straight way through a Llama's block: what the modules give, shared among threads or not."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from language_models import CONFIGS, LATENT, SIZES, draw, ids_of

import minigrad as mg
from minigrad import nn
from minigrad.cpu import llama_block, threads
from minigrad.cpu.team import team
from minigrad.inference import KVCache, cache_for, generate
from minigrad.models import LlamaConfig

ODD = {
    "wide heads, one bias": LlamaConfig(
        **SIZES, n_heads=3, n_kv_heads=1, d_head=10, output_bias=True
    ),
    "a bias in the MLP": LlamaConfig(**SIZES, n_heads=2, mlp_bias=True),
    # Wide enough for each way of cutting a product into pieces.
    "wide": LlamaConfig(5003, 96, 64, n_layers=2, d_hidden=4100, n_heads=4, tie_weights=True),
}
LLAMAS = {k: c for k, c in CONFIGS.items() if isinstance(c, LlamaConfig)} | ODD
GQA = CONFIGS["llama, tied, GQA 3"]


@pytest.fixture(autouse=True)
def usual_threads():
    yield
    threads.set_num_threads(None)


@pytest.fixture
def taken(monkeypatch):
    """A list that grows whenever a block is passed the straight way."""
    calls, run = [], llama_block.run

    def counted(*args):
        y = run(*args)
        calls.extend([] if y is None else [y])
        return y

    monkeypatch.setattr(llama_block, "run", counted)
    return calls


def by_one(model, ids, kernels=True, mask=None, dtype=None):
    """Logits of ids (B, L), two at first and then one at a time."""
    cache = cache_for(model, len(ids), ids.shape[1], dtype)
    found = []
    with mg.no_grad(), mg.use_kernels(kernels):
        for start, stop in [(0, 2), *((t, t + 1) for t in range(2, ids.shape[1]))]:
            seen = None if mask is None else mask[:, :stop]
            found.append(model(ids[:, start:stop], cache=cache, mask=seen).numpy())
    return np.concatenate(found, axis=1)


def assert_equal(found, expected, bound=2e-6):
    bound *= np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=3 * bound)


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("name", LLAMAS)
def test_the_straight_way_gives_what_the_modules_give(name, batch, taken):
    model, ids = draw(LLAMAS[name]), ids_of(LLAMAS[name], batch, 7)
    found = by_one(model, ids)
    assert len(taken) == 5 * model.config.n_layers
    taken.clear()
    assert_equal(found, by_one(model, ids, kernels=False))
    assert not taken


@pytest.mark.parametrize("kept", [None, "float16", "float64"])
def test_padding_and_other_dtypes_in_the_cache(kept, taken):
    model, ids = draw(GQA), ids_of(GQA, 3, 9)
    mask = np.arange(9) >= np.array([[0], [3], [8]])
    found = by_one(model, ids, mask=mask, dtype=kept)
    assert taken
    expected = by_one(model, ids, kernels=False, mask=mask, dtype=kept)
    found[~mask] = expected[~mask] = 0
    # A key that lies between two float16 numbers may be rounded to either.
    assert_equal(found, expected, 2e-4 if kept == "float16" else 2e-6)


def test_no_bit_depends_on_the_number_of_threads(taken):
    for config in (GQA, LLAMAS["wide"]):
        model, ids = draw(config), ids_of(config, 3, 12)
        found = []
        for n in (1, 2, 3, 1):
            threads.set_num_threads(n)
            found.append(by_one(model, ids))
        assert len(taken) >= 4 * 10 * config.n_layers
        for other in found[1:]:
            np.testing.assert_array_equal(found[0], other)


@pytest.mark.parametrize(
    ("config", "dtype", "batch"),
    [(GQA, "float64", 1), (GQA, "float16", 1), (GQA, "float32", 5), (LATENT, "float32", 1)],
)
def test_what_the_straight_way_cannot_do_is_left_to_the_modules(config, dtype, batch, taken):
    model, ids = draw(config, dtype), ids_of(config, batch, 5)
    expected = by_one(model, ids, kernels=False)
    found = by_one(model, ids)
    np.testing.assert_allclose(
        found, expected, rtol=1e-2 if dtype == "float16" else 1e-4, atol=5e-2
    )
    assert not taken


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Halved(nn.RMSNorm):
    def forward(self, x):
        return super().forward(x) / 2


def exchange(block, what):
    """Put another layer into a block, as adapters and quantized layers do."""
    if what == "linear":
        block.attention.key = Doubled(48, 16, bias=False)
    elif what == "norm":
        block.norm_2 = Halved(48)
    elif what == "mlp":
        block.mlp = nn.MLP(48, 30)
    elif what == "dropout":
        block.attention.dropout = nn.Dropout(0.5).train()


@pytest.mark.parametrize("what", ["linear", "norm", "mlp", "dropout"])
def test_exchanged_layers_are_used(what, taken):
    model, ids = draw(GQA), ids_of(GQA, 1, 6)
    before = by_one(model, ids)
    taken.clear()
    with nn.init.seeded(0):
        exchange(model.blocks[1], what)
    mg.manual_seed(1)
    found = by_one(model, ids)
    assert len(taken) == 4 * 2 and np.abs(found - before).max() > 0.01
    mg.manual_seed(1)
    assert_equal(found, by_one(model, ids, kernels=False))


def test_a_tangent_on_its_way_through_the_last_block_is_not_lost():
    model, cache = draw(GQA), KVCache(draw(GQA), 1, 9)
    with mg.no_grad():
        model([[3, 1, 4]], cache=cache)
    name = "blocks.2.mlp.down.weight"
    weight = dict(model.named_parameters())[name].data
    along = np.random.default_rng(0).normal(size=weight.shape).astype(np.float32)

    def logits(weight):
        cache.truncate(3)
        return nn.functional_call(model, {name: weight}, [[5]], cache=cache)

    moved = mg.jvp(logits, (weight,), (along,))[1]
    step = np.float32(1e-2)
    expected = (logits(weight + step * along) - logits(weight - step * along)) / (2 * step)
    assert np.abs(moved).max() > 0.1
    np.testing.assert_allclose(moved, expected.numpy(), rtol=1e-2, atol=1e-2)


def test_detect_anomaly_names_the_op(taken):
    model, cache = draw(GQA), KVCache(draw(GQA), 1, 9)
    model.blocks[1].mlp.down.weight.data[3, 5] = np.nan
    model([[3, 1]], cache=cache)
    with mg.detect_anomaly(), pytest.raises(FloatingPointError, match=r"linear|matmul"):
        model([[4]], cache=cache)
    assert np.isnan(model([[4]], cache=cache).numpy()).all() and taken


# Compiled code would read beyond arrays that are too small.


@pytest.mark.parametrize(
    "name", ["attention.query.weight", "mlp.up.weight", "mlp.down.weight", "norm_2.weight"]
)
def test_weights_of_another_shape_are_an_error(name):
    model, cache = draw(GQA), KVCache(draw(GQA), 1, 9)
    model([[3, 1]], cache=cache)
    parameter = dict(model.blocks[1].named_parameters())[name]
    parameter.data = parameter.data[:5].copy()
    with pytest.raises(ValueError):
        model([[4]], cache=cache)


@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (2, 1, 1, 3), (2, 1, 1, 5), (2, 6, 1, 4)])
def test_masks_of_another_shape_are_an_error_or_mean_what_they_say(shape, taken):
    model, cache = draw(GQA), KVCache(draw(GQA), 2, 9)
    ids = ids_of(GQA, 2, 4)
    rotary = nn.rotary_tables(np.array([3]), 8)
    mask = np.ones(shape, bool)
    mask[..., 1] = False
    x, block = model.token_embedding(ids[:, 3:]).detach(), model.blocks[0]
    results = []
    for kernels in (True, False):
        cache.truncate(0)
        with mg.no_grad(), mg.use_kernels(kernels):
            model(ids[:, :3], cache=cache)
            update = lambda k, v: cache.update(0, k, v)
            if shape[-1] != 4:
                with pytest.raises(ValueError):
                    block(x, mask, rotary, update)
                continue
            results.append(block(x, mask, rotary, update).numpy())
    if results:
        assert_equal(*results)


def test_a_memory_that_gives_other_arrays(taken):
    model, x = draw(GQA), mg.tensor(np.random.default_rng(0).normal(size=(2, 1, 48)).astype("f4"))
    rotary, block = nn.rotary_tables(np.array([3]), 8), model.blocks[0]
    rng = np.random.default_rng(1)
    k, v = rng.normal(size=(2, 2, 2, 5, 16)).astype(np.float32)

    def strided(new_k, new_v):
        return [mg.tensor(each[..., ::2]) for each in (k, v)]

    def few_heads(new_k, new_v):
        return [mg.tensor(each[:, :1, :, :8]) for each in (k, v)]

    found = []
    for kernels in (True, False):
        with mg.no_grad(), mg.use_kernels(kernels):
            found.append(block(x, None, rotary, strided).numpy())
    assert_equal(*found)
    assert len(taken) == 1
    with mg.no_grad(), pytest.raises(ValueError, match=r"expected \(2, 2\) heads of width 8"):
        block(x, None, rotary, few_heads)
    assert team().lock.acquire(blocking=False)
    team().lock.release()


# Threads


def test_several_threads_decode_at_once():
    threads.set_num_threads(2)
    model = draw(LLAMAS["wide"])
    prompts = [ids_of(model.config, 1, 5, seed)[0] for seed in range(4)]
    expected = [generate(model, prompt, 40).tolist() for prompt in prompts]
    wrong = []

    def work(i):
        for _ in range(2):
            if generate(model, prompts[i], 40).tolist() != expected[i]:
                wrong.append(i)

    callers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_an_interruption_leaves_nothing_behind():
    threads.set_num_threads(2)
    model = draw(GQA)
    expected = generate(model, [1, 2, 3], 20).tolist()

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for i in range(30):
            signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.0003 * i)
            with pytest.raises(KeyboardInterrupt):
                while True:
                    generate(model, [1, 2, 3], 20)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert generate(model, [1, 2, 3], 20).tolist() == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_has_a_team_of_its_own():
    threads.set_num_threads(2)
    model = draw(GQA)
    expected = generate(model, [1, 2, 3], 20).tolist()
    child = os.fork()
    if child == 0:
        right = False
        try:
            right = generate(model, [1, 2, 3], 20).tolist() == expected
        finally:
            os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert generate(model, [1, 2, 3], 20).tolist() == expected


ENDS = """
import numpy as np, sys
from minigrad.inference import stream
from minigrad.models import Llama, LlamaConfig
model = Llama(LlamaConfig(4099, 64, 48, n_heads=6, n_layers=3, d_hidden=80), seed=0)
for token in stream(model, [1, 2, 3], 9):
    print(token)
sys.exit(7)
"""


@pytest.mark.parametrize("count", ["1", "3"])
def test_a_process_may_end_while_helpers_watch(count):
    environment = {**os.environ, "MINIGRAD_NUM_THREADS": count}
    done = subprocess.run(
        [sys.executable, "-c", ENDS], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (7, "") and len(done.stdout.split()) == 9
