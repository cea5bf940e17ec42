"""Plain values as bytes: what may pass the wall passes unchanged, and nothing else does."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigrad.sandbox import plain

DTYPES = st.sampled_from(plain.NUMBERS)
KEYS = st.integers(-plain.MAX_KEY, plain.MAX_KEY)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(codec=None)),
    DTYPES.flatmap(lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=0, min_side=0))),
    DTYPES.flatmap(lambda name: hnp.from_dtype(np.dtype(name))),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


def same(a, b):
    """Whether two plain values are equal to the last bit, types included."""
    if type(a) is not type(b):
        return False
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict:
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if type(a) is float:
        return struct.pack("<d", a) == struct.pack("<d", b)
    return repr(a) == repr(b)


@given(VALUES)
@settings(max_examples=200)
def test_plain_values_come_back_as_they_were(value):
    assert same(plain.decode(plain.encode(value)), value)


@given(VALUES, st.data())
@settings(max_examples=200)
def test_damaged_bytes_give_a_plain_value_or_a_clear_error(value, data):
    encoded = bytearray(plain.encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(plain.NotPlainError):
        plain.encode(plain.decode(bytes(encoded)))


@given(st.binary(max_size=60))
@settings(max_examples=300)
def test_any_bytes_give_a_plain_value_or_a_clear_error(data):
    with contextlib.suppress(plain.NotPlainError):
        plain.decode(data)


def test_the_memory_layout_and_byte_order_of_an_array_do_not_matter():
    x = np.arange(24.0).reshape(2, 3, 4)
    for view in (x.transpose(2, 0, 1), x[:, ::-1, 1::2], x.astype(">f8")):
        back = plain.decode(plain.encode(view))
        assert back.dtype == np.float64 and back.flags.c_contiguous and back.flags.writeable
        np.testing.assert_array_equal(back, view)


class Liar(np.ndarray):
    def __eq__(self, other):
        return True


class LyingFloat(float):
    def __eq__(self, other):
        return True

    __hash__ = float.__hash__


SELF = []
SELF.append(SELF)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros(2).view(Liar), "Liar"),
        (LyingFloat(1.0), "LyingFloat"),
        (np.array([None, 1]), "dtype object"),
        (np.array(["a"]), "dtype <U1"),
        (np.zeros(2, [("a", "f4")]), "array of dtype"),
        (np.ma.masked_array([1.0]), "MaskedArray"),
        (np.datetime64("2026-01-01"), "datetime64"),
        ({1.5: 2}, "key of type float"),
        ([1, (2, {"a": {3}})], r"the value\[1\]\[1\]\['a'\] is of type set"),
        ((i for i in "ab"), "generator"),
        (b"bytes", "of type bytes"),
        (len, "builtin_function_or_method"),
        (SELF, "nested more than"),
        (1 << 100_000, "an int of"),
        (list(range(plain.MAX_ITEMS + 2)), "more than 1,000,000 items"),
        (np.zeros(plain.MAX_BYTES, np.int8), "at most 16,777,216"),
    ],
    ids=range(16),
)
def test_what_is_not_plain_is_refused_by_name(value, words):
    with pytest.raises(plain.NotPlainError, match=words):
        plain.encode(value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "1 bytes announced, 0 there"),
        (b"N!", "1 bytes after the value"),
        (b"?", "no value starts with"),
        (b"l\xff\xff\xff\xff", "announced"),
        (b"s\xff\xff\xff\x7fab", "announced, 2 there"),
        (b"i\xff\xff\xff\x00", "an int of"),
        (b"a\x0b\x01" + (2**62).to_bytes(8, "little"), "announced, 0 there"),
        (b"a\xff\x00", "hold no plain value"),
        (b"l\x01\x00\x00\x00" * 40 + b"N", "too deep"),
        (b"s\x01\x00\x00\x00\xff", "hold no plain value"),
        (b"d\x01\x00\x00\x00NN", "a key of type NoneType"),
        (plain.encode(plain.Given("f", ())), "no value starts with"),
    ],
)
def test_bytes_that_lie_are_refused(data, words):
    with pytest.raises(plain.NotPlainError, match=words):
        plain.decode(data)


def test_an_array_of_no_elements_may_claim_any_size_without_harm():
    data = b"a\x0b\x02" + (0).to_bytes(8, "little") + (2**40).to_bytes(8, "little")
    assert plain.decode(data).size == 0


def test_functions_pass_only_on_the_way_to_the_learner():
    encoded = plain.encode([plain.Given("square", (2, np.ones(2)))])
    (back,) = plain.decode(encoded, functions=True)
    assert back.name == "square" and same(back.arguments, (2, np.ones(2)))
    with pytest.raises(plain.NotPlainError):
        plain.decode(encoded)
