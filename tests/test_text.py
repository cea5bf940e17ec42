"""Tokenizers: there and back again, and what they refuse."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import data
from minigrad.text import CharTokenizer

TOKENIZER = CharTokenizer("no, t!be\n")


def test_ids_count_the_sorted_characters():
    tokenizer = CharTokenizer.from_text("hello, world")
    assert "".join(tokenizer.characters) == " ,dehlorw"
    ids = tokenizer.encode("owl")
    assert ids.dtype == np.int64
    assert ids.tolist() == [6, 8, 5]
    assert tokenizer.vocab_size == 9


@given(st.text(min_size=1))
def test_decode_undoes_encode_for_any_text(text):
    tokenizer = CharTokenizer.from_text(text)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text)
    assert set(ids.tolist()) == set(range(tokenizer.vocab_size))


def test_all_of_shakespeare_goes_there_and_back():
    text = data.shakespeare()
    tokenizer = CharTokenizer.from_text(text)
    assert tokenizer.vocab_size == 65
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_nothing_becomes_nothing():
    assert TOKENIZER.encode("").shape == (0,)
    assert TOKENIZER.encode("").dtype == np.int64
    assert TOKENIZER.decode([]) == ""


@pytest.mark.parametrize("stranger", ["Z", "\x00", "é", "🙂", "\ud800"])
def test_an_unknown_character_is_named_with_its_position(stranger):
    with pytest.raises(ValueError) as caught:
        TOKENIZER.encode(f"not{stranger}be")
    assert f"character {stranger!r} at position 3" in str(caught.value)
    assert "9 known ones: 'no, t!be\\n'" in str(caught.value)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([0, 3, 9], IndexError, "id 9 at position 2 is outside 0 … 8"),
        ([0, -1], IndexError, "id -1 at position 1 is outside"),
        ([0.0, 1.0], TypeError, "must be integers, got dtype float64"),
        ([[0, 1]], ValueError, r"shape \(L,\), got \(1, 2\)"),
    ],
)
def test_bad_ids_are_named(ids, error, message):
    with pytest.raises(error, match=f"CharTokenizer.decode: .*{message}"):
        TOKENIZER.decode(ids)


@pytest.mark.parametrize(
    ("characters", "message"),
    [
        ("", "at least one character"),
        ("abca", r"more than once: \['a'\]"),
        (["a", "bc"], "entry 1 must be one character, got 'bc'"),
        (["a", 7], "entry 1 must be one character, got 7"),
    ],
)
def test_a_bad_vocabulary_is_refused(characters, message):
    with pytest.raises(ValueError, match=f"CharTokenizer: .*{message}"):
        CharTokenizer(characters)


def test_encode_takes_text_only():
    with pytest.raises(TypeError, match="expected a str, got list"):
        TOKENIZER.encode(["n", "o"])


def test_a_tokenizer_survives_its_file(tmp_path):
    path = tmp_path / "characters.json"
    tokenizer = CharTokenizer.from_text('né "🙂" \\ \n')
    tokenizer.save(path)
    assert CharTokenizer.load(path).characters == tokenizer.characters
    TOKENIZER.save(path)
    assert CharTokenizer.load(path).characters == TOKENIZER.characters
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("{", "is not a JSON file"),
        (b"\xff\xfe\x00", "is not a JSON file"),
        ("[1, 2]", "is not a 'minigrad character tokenizer 1' file"),
        ('{"format": "another"}', "is not a 'minigrad character tokenizer 1' file"),
        (json.dumps({"format": "minigrad character tokenizer 1"}), "damaged: .*at least one"),
        (
            json.dumps({"format": "minigrad character tokenizer 1", "characters": ["a", "a"]}),
            "damaged: .*more than once",
        ),
        (json.dumps({"format": "minigrad character tokenizer 1", "characters": 5}), "damaged"),
    ],
)
def test_a_foreign_or_damaged_file_is_refused_by_name(tmp_path, contents, message):
    path = tmp_path / "characters.json"
    path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    with pytest.raises(ValueError, match=f"characters.json .*{message}"):
        CharTokenizer.load(path)
