"""Caches change when a token is computed, never what comes out; and what they cost in bytes."""

import numpy as np
import pytest
from checking import as_numpy
from hypothesis import given
from hypothesis import strategies as st
from language_models import CONFIGS, LATENT, draw, ids_of

import minigrad as mg
from minigrad.inference import KVCache, LatentCache, cache_for
from minigrad.models import GPT, GPTConfig

KINDS = {
    "MHA": CONFIGS["llama"],
    "GQA": CONFIGS["llama, tied, GQA 3"],
    "MQA": CONFIGS["llama, MQA, biases"],
    "MLA": LATENT,
    "GPT-2": CONFIGS["gpt-2"],
}
LAYERS, D, MODEL = 3, 48, draw(KINDS["GQA"])
# The course's formulas: numbers that one token leaves behind.
PER_TOKEN = {
    "MHA": 2 * 6 * (D // 6) * LAYERS,  # 2 n_h H l
    "GQA": 2 * 2 * (D // 6) * LAYERS,  # 2 n_kv H l
    "MQA": 2 * (D // 8) * LAYERS,  # 2 H l
    "MLA": (32 + 4) * LAYERS,  # (d_c + d_R) l
    "GPT-2": 2 * 4 * (D // 4) * LAYERS,
}
L = 19


@pytest.fixture(scope="module", params=["float64", "float32"])
def dtype(request):
    return request.param


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind, dtype, device):
    return draw(KINDS[kind], dtype).to(device)


def logits(model, ids, **options):
    with mg.no_grad():
        return as_numpy(model(ids, **options))


def in_pieces(model, cache, ids, cuts, mask=None, past=0):
    """Logits of ids (B, L), given to the model in pieces that end at the cuts and at L."""
    found, start = [], 0
    for stop in [*cuts, ids.shape[1]]:
        seen = None if mask is None else mask[:, : past + stop]
        found.append(logits(model, ids[:, start:stop], cache=cache, mask=seen))
        start = stop
    return np.concatenate(found, axis=1)


def assert_equal(found, expected):
    """To 1e-10 in float64 and 2e-4 in float32."""
    bound = 1e-10 if found.dtype == np.float64 else 2e-4
    assert found.dtype == expected.dtype and np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


splits = st.sets(st.integers(1, L - 1)).map(sorted)
BY_ONE, AT_ONCE = list(range(1, L)), []


@pytest.mark.parametrize("cuts", [AT_ONCE, BY_ONE, [L - 1], [1]])
def test_cached_equals_uncached(model, cuts):
    ids = ids_of(model.config, batch=2, length=L)
    cache = cache_for(model, 2, L)
    assert_equal(in_pieces(model, cache, ids, cuts), logits(model, ids))
    assert cache.length == L


@given(cuts=splits, batch=st.integers(1, 6), seed=st.integers(0, 99))
def test_cached_equals_uncached_however_the_prompt_is_split(model, cuts, batch, seed):
    ids = ids_of(model.config, batch, L, seed)
    cache = cache_for(model, batch, L + 3)
    assert_equal(in_pieces(model, cache, ids, cuts), logits(model, ids))


@given(cuts=splits, padding=st.lists(st.integers(0, L - 1), min_size=2, max_size=5))
def test_padding_on_the_left_changes_nothing(model, cuts, padding):
    ids = ids_of(model.config, len(padding), L)
    mask = np.arange(L) >= np.array(padding)[:, None]
    found = in_pieces(model, cache_for(model, len(ids), L), ids, cuts, mask)
    for i, first in enumerate(padding):
        assert_equal(found[i, first:], logits(model, ids[i : i + 1, first:])[0])


@given(cuts=splits, holes=st.sets(st.integers(1, L - 1)))
def test_holes_in_the_mask_are_as_if_their_tokens_were_not_there(model, cuts, holes):
    ids, shown = ids_of(model.config, 1, L), np.array([i not in holes for i in range(L)])
    found = in_pieces(model, cache_for(model, 1, L), ids, cuts, shown[None])
    assert_equal(found[:, shown], logits(model, ids[:, shown]))


def test_only_the_last_position_is_computed_when_asked(model):
    ids, cache = ids_of(model.config, 2, L), cache_for(model, 2, L)
    expected = logits(model, ids)
    assert_equal(logits(model, ids[:, :11], cache=cache, last=True), expected[:, 10:11])
    assert_equal(logits(model, ids[:, 11:], cache=cache, last=True), expected[:, -1:])


def test_long_texts_and_more_rows_than_the_fast_way_takes(model):
    """Decoding cuts keys into parts of 256, and shares up to four rows among threads."""
    config = model.config
    long = type(config)(**{**vars(config), "context_length": 700})
    big = draw(long, model.token_embedding.weight.dtype).to(model.token_embedding.weight.device)
    for batch in (1, 5):
        ids = ids_of(long, batch, 530)
        expected = logits(big, ids)
        found = in_pieces(big, cache_for(big, batch, 600), ids, [509, *range(511, 530)])
        assert_equal(found, expected)


def test_truncating_goes_back_in_time(model):
    ids, cache = ids_of(model.config, 2, L), cache_for(model, 2, L)
    in_pieces(model, cache, ids, [4])
    cache.truncate(7)
    other = ids_of(model.config, 2, L, seed=8)
    other[:, :7] = ids[:, :7]
    assert cache.length == 7
    assert_equal(in_pieces(model, cache, other[:, 7:], [3]), logits(model, other)[:, 7:])
    cache.truncate(0)
    assert_equal(in_pieces(model, cache, ids, []), logits(model, ids))


@pytest.mark.parametrize("rows", [[2, 0, 1], [1, 1, 2], [0, 1, 2], [2], [1, 0, 2, 2, 1]])
@pytest.mark.parametrize("since", [0, 5])
def test_reordered_rows_go_on_from_each_other(model, rows, since):
    ids, cache = ids_of(model.config, 3, L), cache_for(model, 3, L)
    ids[:, :since] = ids[0, :since]
    in_pieces(model, cache, ids[:, :12], [5])
    cache.reorder(np.array(rows), since)
    assert (cache.batch, cache.length) == (len(rows), 12)
    new = ids_of(model.config, len(rows), L - 12, seed=9)
    expected = logits(model, np.concatenate([ids[rows, :12], new], axis=1))[:, 12:]
    assert_equal(in_pieces(model, cache, new, [1]), expected)


def test_reordering_leaves_alone_what_is_alike():
    cache = KVCache(MODEL, 2, L)
    in_pieces(MODEL, cache, ids_of(MODEL.config, 2, 9), [])
    before = [array.copy() for array in cache._arrays]
    cache.reorder([1, 0], since=4)
    for now, old in zip(cache._arrays, before):
        np.testing.assert_array_equal(now[..., :4, :], old[..., :4, :])
        np.testing.assert_array_equal(now[..., 4:9, :], old[:, ::-1, :, 4:9])


# Bytes


@pytest.mark.parametrize("item", [8, 4, 2])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_those_of_the_formula(kind, batch, item, device):
    model = draw(KINDS[kind], f"float{8 * item}").to(device)
    cache = cache_for(model, batch, 31)
    assert (cache.bytes_used, cache.length) == (0, 0)
    assert cache.bytes_allocated == PER_TOKEN[kind] * item * 31 * batch
    assert sum(array.nbytes for array in cache._arrays) == cache.bytes_allocated
    for tokens in (6, 7, 9):
        logits(model, ids_of(model.config, batch, tokens - cache.length), cache=cache)
        assert cache.length == tokens
        assert cache.bytes_used == PER_TOKEN[kind] * item * tokens * batch
    cache.truncate(2)
    assert cache.bytes_used == PER_TOKEN[kind] * item * 2 * batch
    cache.reorder([0] * 4)
    assert cache.bytes_used == PER_TOKEN[kind] * item * 2 * 4
    assert cache.bytes_allocated == PER_TOKEN[kind] * item * 31 * 4


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_update_gives_is_the_caches_own_memory(kind, device):
    model = draw(KINDS[kind]).to(device)
    cache = cache_for(model, 2, 8)
    assert type(cache) is (LatentCache if kind == "MLA" else KVCache)
    assert all(array.flags.c_contiguous for array in cache._arrays)
    n, H = model.config.n_kv_heads, model.config.d_head
    shapes = [(2, 1, 32), (2, 1, 4)] if kind == "MLA" else [(2, n, 1, H)] * 2
    new = [mg.tensor(np.ones(shape), dtype="float32", device=device) for shape in shapes]
    for layer in range(LAYERS):
        assert cache.length == 0
        keys, values = cache.update(layer, *new)
    assert keys.shape[2] == values.shape[2] == cache.length == 1
    cache._arrays[-1][LAYERS - 1] = 7
    assert (as_numpy(values) == 7).all()


def test_a_cache_says_what_it_holds():
    cache = KVCache(MODEL, 2, 8, "float16")
    logits(MODEL, ids_of(MODEL.config, 2, 3), cache=cache)
    assert (cache.batch, cache.max_length, cache.dtype) == (2, 8, np.float16)
    assert repr(cache) == "KVCache(batch 2, 3 of 8 tokens, 1,152 of 3,072 bytes)"


@pytest.mark.parametrize("kept", ["float16", "bfloat16"])
def test_halves_of_the_bytes_cost_a_few_digits(kind, kept, device):
    model = draw(KINDS[kind]).to(device)
    ids, cache = ids_of(model.config, 3, L), cache_for(model, 3, L, kept)
    assert all(array.dtype == mg.backend.as_dtype(kept) for array in cache._arrays)
    found, expected = in_pieces(model, cache, ids, [9, *range(10, L)]), logits(model, ids)
    assert found.dtype == np.float32
    relative = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-6 < relative < (0.005 if kept == "float16" else 0.04)


def test_a_model_in_half_precision_decodes(kind, device):
    model, exact = draw(KINDS[kind], "float16").to(device), draw(KINDS[kind], "float64")
    ids = ids_of(model.config, 2, L)
    cache = cache_for(model, 2, L)
    found, expected = in_pieces(model, cache, ids, [9, 10, 11]), logits(exact, ids)
    assert found.dtype == cache.dtype == np.float16
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()


# Refusals


def test_a_cache_of_another_kind_or_size_is_refused():
    with pytest.raises(TypeError, match="LatentCache: this Llama's attention needs a KVCache"):
        LatentCache(MODEL, 1, 8)
    with pytest.raises(TypeError, match="KVCache: this Llama's attention needs a LatentCache"):
        KVCache(draw(LATENT), 1, 8)
    with pytest.raises(TypeError, match="expected a GPT or a Llama, got Linear"):
        KVCache(mg.nn.Linear(3, 2), 1, 8)
    for batch, length in ((0, 8), (1, 0), (-1, 8)):
        with pytest.raises(ValueError, match=f"batch is {batch} and max_length {length}"):
            KVCache(MODEL, batch, length)
    with pytest.raises(TypeError, match=r"batch is 1\.5 and max_length 8; expected integers"):
        KVCache(MODEL, 1.5, 8)
    with pytest.raises(TypeError, match="dtype is int64; expected a floating-point type"):
        KVCache(MODEL, 1, 8, "int64")


def test_what_does_not_fit_leaves_a_cache_as_it_was():
    ids, cache = ids_of(MODEL.config, 2, 9), KVCache(MODEL, 2, 8)
    first = logits(MODEL, ids[:, :6], cache=cache)
    with pytest.raises(ValueError, match="6 of max_length 8 tokens are taken, 3 more do not fit"):
        MODEL(ids[:, 6:], cache=cache)
    with pytest.raises(ValueError, match=r"ids of shape \(1, 2\) for a cache of batch 2"):
        MODEL(ids[:1, :2], cache=cache)
    with pytest.raises(IndexError, match="ids run from 999 to 999"):
        MODEL(ids[:, :1] * 0 + 999, cache=cache)
    with pytest.raises(ValueError, match=r"mask is bool \(2, 2\), expected bool \(2, 8\)"):
        MODEL(ids[:, 6:8], cache=cache, mask=np.ones((2, 2), bool))
    assert cache.length == 6
    rest = logits(MODEL, ids[:, 6:8], cache=cache)
    both = np.concatenate([first, rest], axis=1)
    assert_equal(both, logits(MODEL, ids[:, :8]))


def test_the_context_counts_what_the_cache_holds():
    cache = KVCache(MODEL, 1, 200)
    logits(MODEL, ids_of(MODEL.config, 1, 95), cache=cache)
    message = r"2 tokens long after 95 in the cache, expected 1 to context_length = 96 in all"
    with pytest.raises(ValueError, match=message):
        MODEL([[1, 2]], cache=cache)
    logits(MODEL, [[1]], cache=cache)
    with pytest.raises(ValueError, match="1 tokens long after 96 in the cache"):
        MODEL([[1]], cache=cache)


@pytest.mark.parametrize("other", ["llama", "llama, GQA 8", "gpt-2"])
def test_the_cache_of_another_model_is_refused(other):
    with pytest.raises(ValueError, match="layer 0 was given shape"):
        draw(CONFIGS[other])([[1, 2]], cache=KVCache(MODEL, 1, 8))


@pytest.mark.parametrize("layers", [2, 4])
def test_the_cache_of_a_model_with_other_layers_is_refused(layers):
    config = type(MODEL.config)(**{**vars(MODEL.config), "n_layers": layers})
    with pytest.raises(ValueError, match=f"a cache of 3 layers for a model of {layers}"):
        draw(config)([[1, 2]], cache=KVCache(MODEL, 1, 8))


def test_a_latent_cache_is_not_for_keys_and_values():
    with pytest.raises((TypeError, ValueError), match="LatentCache"):
        MODEL([[1, 2]], cache=LatentCache(draw(LATENT), 1, 8))


def test_models_that_see_what_follows_have_no_use_for_a_cache():
    model = GPT(GPTConfig.lecture(9, 8, 12, 3, 2), seed=0)
    with pytest.raises(ValueError, match="without a causal mask, later tokens change"):
        model([[1, 2]], cache=KVCache(model, 1, 8))


@pytest.mark.parametrize("length", [-1, 5])
def test_truncating_to_more_than_there_is_is_refused(length):
    cache = KVCache(MODEL, 1, 8)
    logits(MODEL, [[1, 2, 3, 4]], cache=cache)
    with pytest.raises(ValueError, match=f"truncate to {length} tokens, there are 4"):
        cache.truncate(length)
    with pytest.raises(TypeError):
        cache.truncate(2.5)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([0, 2], IndexError, "rows run from 0 to 2, expected 0 to 1"),
        ([-1, 0], IndexError, "rows run from -1 to 0"),
        ([], ValueError, "expected integers"),
        ([[0, 1]], ValueError, r"int64 \(1, 2\), expected integers \(B',\)"),
        ([0.0, 1.0], ValueError, r"rows are float64 \(2,\)"),
        ([True, False], ValueError, r"rows are bool \(2,\)"),
    ],
)
def test_rows_that_are_not_there_are_refused(rows, error, message):
    with pytest.raises(error, match=message):
        KVCache(MODEL, 2, 8).reorder(rows)


def test_no_derivative_passes_through_a_cache():
    parameters = {name: p.data for name, p in MODEL.named_parameters()}

    def loss(parameters, cache):
        return mg.nn.functional_call(MODEL, parameters, [[1, 2]], cache=cache).sum()

    gradients = mg.grad(lambda p: loss(p, None))(parameters)
    assert any(np.abs(g).max() > 0 for g in gradients.values())
    with pytest.raises(TypeError, match="a derivative would be lost"):
        mg.jvp(lambda p: loss(p, KVCache(MODEL, 1, 8)), (parameters,), (parameters,))
    out = MODEL(np.array([[1, 2]]), cache=KVCache(MODEL, 1, 8))
    assert not out.requires_grad
