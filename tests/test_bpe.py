"""Byte-pair encoding: against its definition, against Hugging Face's package, and bad files."""

import json
import random
import sys
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import data
from minigrad.models import store
from minigrad.text import BPE, ChatTemplate, bpe_files
from minigrad.text.pretokenize import _finders, pretokenize

GOLDEN = json.loads((Path(__file__).parent / "golden" / "bpe.json").read_text(encoding="utf-8"))
PATTERNS = ["gpt2", "smollm"]
TEXT = data.shakespeare()[: GOLDEN["characters"]] + GOLDEN["appended"]
SMALL = BPE.train(TEXT[:20_000], 300, "smollm", special=["<|end|>", "<|start|>"])
# Texts in which runs, ties and overlaps are common, and ordinary ones.
TEXTS = st.one_of(
    st.text("ab ", min_size=1, max_size=60),
    st.text("aé1 \n'st", max_size=60),
    st.text(st.characters(codec="utf-8"), max_size=40),
)


@pytest.fixture(scope="module", params=PATTERNS)
def trained(request):
    return BPE.train(TEXT, 500, request.param, GOLDEN["special"])


# The pre-tokenizer


@pytest.mark.parametrize(
    ("text", "gpt2", "smollm"),
    [
        ("Hello, world!", "Hello|,| world|!", "Hello|,| world|!"),
        ("we'll say I'D 'tis", "we|'ll| say| I|'|D| '|tis", "we|'ll| say| I|'|D| '|tis"),
        ("in 1984, x2", "in| 1984|,| x|2", "in| |1|9|8|4|,| x|2"),
        ("a   b\n\n c  ", "a|  | b|\n\n| c|  ", "a|  | b|\n\n| c|  "),
        ("a   7", "a|  | 7", "a|   |7"),
        ("2½ⅧA", "2½Ⅷ|A", "2|½|Ⅷ|A"),
        ("你好。 наш é", "你好|。| наш| é", "你好|。| наш| é"),
        ("!?🙂🙂 🙂x", "!?🙂🙂| 🙂|x", "!?🙂🙂| 🙂|x"),
    ],
)
def test_pieces_are_words_numbers_marks_and_spaces(text, gpt2, smollm):
    assert pretokenize(text, "gpt2") == gpt2.split("|")
    assert pretokenize(text, "smollm") == smollm.split("|")


@given(TEXTS, st.sampled_from(PATTERNS))
def test_the_pieces_joined_are_the_text(text, pattern):
    pieces = pretokenize(text, pattern)
    assert "".join(pieces) == text
    assert "" not in pieces


# Training and encoding against their definitions


def trained_naively(text, vocab_size, pattern):
    """Merges by counting all pairs anew each time."""
    words = Counter(pretokenize(text, pattern))
    words = {tuple(bytes([b]) for b in word.encode()): n for word, n in words.items()}
    ids, merges = dict(BPE.untrained().vocab), []
    while len(ids) < vocab_size:
        counts = Counter()
        for word, times in words.items():
            for pair in pairwise(word):
                counts[pair] += times
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], ids[pair[0]], ids[pair[1]]))
        merges.append(best)
        ids.setdefault(best[0] + best[1], len(ids))
        words = {joined(word, best): times for word, times in words.items()}
    return merges


def joined(word, pair):
    """A word after one merge, from left to right."""
    result, i = [], 0
    while i < len(word):
        step = 2 if word[i : i + 2] == pair else 1
        result.append(b"".join(word[i : i + step]))
        i += step
    return tuple(result)


def encoded_naively(tokenizer, text):
    """Ids by applying, again and again, the first merge that applies to the leftmost place."""
    ids = []
    for piece in pretokenize(text, tokenizer.pattern):
        word = [bytes([byte]) for byte in piece.encode()]
        while True:
            places = [
                (tokenizer.merges.index(pair), i)
                for i, pair in enumerate(pairwise(word))
                if pair in tokenizer.merges
            ]
            if not places:
                break
            _, i = min(places)
            word[i : i + 2] = [word[i] + word[i + 1]]
        ids += [tokenizer.vocab[token] for token in word]
    return ids


def test_the_textbook_example_gives_its_merges():
    tokenizer = BPE.train("aaabdaaabac", 259)
    assert tokenizer.merges == [(b"a", b"a"), (b"a", b"b"), (b"aa", b"ab")]
    assert [tokenizer.decode_bytes([i]) for i in tokenizer.encode("aaabdaaabac")] == (
        [b"aaab", b"d", b"aaab", b"a", b"c"]
    )


def test_among_equal_counts_the_lowest_ids_go_first():
    # Each pair occurs once. The ids of bytes follow the alphabet, with the space behind it.
    tokenizer = BPE.train("zy bc dn xa", 263)
    assert tokenizer.merges[:4] == [(b"b", b"c"), (b"d", b"n"), (b"x", b"a"), (b"z", b"y")]
    assert tokenizer.merges[4:] == [(b" ", b"bc"), (b" ", b"dn"), (b" ", b"xa")]


@given(TEXTS, st.sampled_from(PATTERNS), st.integers(0, 60))
def test_training_joins_the_most_frequent_pair_each_time(text, pattern, count):
    merges = trained_naively(text, 256 + count, pattern)
    tokenizer = BPE.train(text, len({a + b for a, b in merges}) + 256, pattern)
    assert tokenizer.merges == merges


@given(TEXTS, st.sampled_from(PATTERNS))
def test_encoding_applies_the_earliest_merge_each_time(text, pattern):
    tokenizer = BPE(SMALL.vocab, SMALL.merges, pattern, SMALL.special)
    assert tokenizer.encode(text, special=False).tolist() == encoded_naively(tokenizer, text)


@given(TEXTS)
def test_decode_undoes_encode_for_any_text(text):
    ids = SMALL.encode(text)
    assert ids.dtype == np.int64
    assert SMALL.decode(ids) == text
    assert SMALL.decode_bytes(ids) == text.encode()


def test_a_merge_need_not_come_after_those_that_make_its_parts():
    # "abc" can be made as ab+c or a+bc; the rank decides, and a pair may rank before its parts.
    vocab = [b"a", b"b", b"c", b"abc", b"bc", b"ab", b"abcabc"]
    merges = [(b"abc", b"abc"), (b"b", b"c"), (b"a", b"bc"), (b"a", b"b")]
    assert BPE(vocab, merges).encode("abcabcab").tolist() == [6, 5]


def test_all_of_shakespeare_goes_there_and_back(trained):
    text = data.shakespeare()
    ids = trained.encode(text)
    assert len(ids) < 0.6 * len(text)
    assert trained.decode(ids) == text


def test_a_word_of_a_hundred_thousand_letters_does_not_take_the_square_of_that():
    word = "".join(random.Random(1).choices("etaoinsh", k=100_000))
    assert SMALL.decode(SMALL.encode(word)) == word
    assert len(BPE.train(word, 400).encode(word)) < 50_000


def test_training_on_a_megabyte_to_two_thousand_tokens_is_a_matter_of_seconds():
    # The naive way counts a million pairs 1,744 times, which takes most of an hour.
    tokenizer = BPE.train(data.shakespeare()[:1_000_000], 2_000)
    assert tokenizer.vocab_size == 2_000
    assert {b" shall", b" thou", b" king"} <= tokenizer.vocab.keys()


def test_nothing_becomes_nothing():
    assert SMALL.encode("").shape == (0,)
    assert SMALL.encode("").dtype == np.int64
    assert SMALL.decode([]) == ""


# Against Hugging Face's package, which made the golden file


def test_merges_and_ids_are_those_of_hugging_faces_package(trained):
    golden = GOLDEN[trained.pattern]
    shown = [[bpe_files.show(token) for token in pair] for pair in trained.merges]
    assert shown == golden["merges"]
    for text, ids in golden["ids"]:
        assert trained.encode(text).tolist() == ids, text
        assert trained.decode(ids) == text


def peer(tokenizer):
    """The same vocabulary and merges in Hugging Face's package."""
    tokenizers = pytest.importorskip("tokenizers")
    vocab = {bpe_files.show(token): id for token, id in tokenizer.vocab.items()}
    merges = [tuple(map(bpe_files.show, pair)) for pair in tokenizer.merges]
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(vocab | tokenizer.special, merges))
    steps = [tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if tokenizer.pattern == "smollm":
        steps.insert(0, tokenizers.pre_tokenizers.Digits(individual_digits=True))
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(steps)
    theirs.decoder = tokenizers.decoders.ByteLevel()
    theirs.add_special_tokens(list(tokenizer.special))
    return theirs


def many_texts(tokenizer):
    """Random bytes (as UTF-8 with replacements, and as latin-1), pieces of all kinds, code."""
    rng = random.Random(7)
    strings = [rng.randbytes(rng.randrange(120)) for _ in range(10_000)]
    texts = [string.decode("utf-8", "replace") for string in strings]
    texts += [string.decode("latin-1") for string in strings]
    pieces = [*"  \n\t'7½²é\r\x1c\x85\u00a0\u2028\u200b\u3000", "'s", "'LL", " world", "naïve"]
    pieces += [
        "日本語",
        "العربية",
        "हिन्दी",
        "русский",
        "한국어",
        "ไทย",
        "e\u0301",
        "🙂",
        "👩‍👩‍👧",
        "🇫🇷",
    ]
    pieces += [*tokenizer.special, "<|im_start|", "<|", "|>", "def f(x):\n    return x**2\n", "!="]
    texts += ["".join(rng.choices(pieces, k=rng.randrange(1, 15))) for _ in range(10_000)]
    sources = sorted(Path(__file__).parents[1].glob("minigrad/**/*.py"))
    return texts + [path.read_text(encoding="utf-8") for path in sources] + [data.shakespeare()]


def check_against_peer(tokenizer):
    theirs, texts = peer(tokenizer), many_texts(tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bytes that no token has
        ours = [tokenizer.encode(text).tolist() for text in texts]
    for text, ids, encoding in zip(texts, ours, theirs.encode_batch_fast(texts)):
        assert ids == encoding.ids, text[:200]
    for special in (True, False):
        decoded = theirs.decode_batch(ours, skip_special_tokens=not special)
        assert [tokenizer.decode(ids, special=special) for ids in ours] == decoded


@pytest.mark.reference
def test_a_vocabulary_of_ones_own_gives_the_packages_ids(trained):
    check_against_peer(trained)


@pytest.mark.reference
@pytest.mark.skipif(
    store.cached("smollm2-135m-instruct") is None,
    reason="needs `minigrad download smollm2-135m-instruct`",
)
def test_smollm2s_vocabulary_gives_the_packages_ids():
    gguf = pytest.importorskip("gguf")
    fields = gguf.GGUFReader(store.cached("smollm2-135m-instruct")).fields
    names = [name for name in fields if name.startswith("tokenizer.")]
    tokenizer = BPE.from_gguf({name: fields[name].contents() for name in names})
    assert (tokenizer.vocab_size, len(tokenizer.merges)) == (49_152, 48_900)
    assert tokenizer.decode([tokenizer.bos, tokenizer.eos]) == "<|im_start|><|im_end|>"
    assert "You are a helpful AI" in tokenizer.chat_template.render(
        [{"role": "user", "content": ""}]
    )
    check_against_peer(tokenizer)


@pytest.mark.reference
@pytest.mark.parametrize("pattern", PATTERNS)
def test_training_gives_the_packages_merges(pattern):
    tokenizers = pytest.importorskip("tokenizers")
    rng = random.Random(3)
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in sorted(Path(__file__).parents[1].glob("minigrad/**/*.py"))
    )
    cases = [(data.shakespeare(), 3_000), (code, 3_000), (TEXT[:50_000], 4_000)]
    cases += [
        ("".join(rng.choices("abc "[: rng.randrange(2, 5)], k=rng.randrange(20, 400))), size)
        for size in range(259, 300)
    ]
    for text, vocab_size in cases:
        theirs = peer(BPE.untrained(pattern))
        theirs.model = tokenizers.models.BPE()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        theirs.train_from_iterator([text], trainer)
        model = json.loads(theirs.to_str())["model"]
        ours = BPE.train(text, len(model["vocab"]), pattern, ["<s>", "</s>"])
        assert [list(map(bpe_files.show, pair)) for pair in ours.merges] == model["merges"]
        shown = {bpe_files.show(token): id for token, id in ours.vocab.items()}
        assert shown | ours.special == model["vocab"]


# Special tokens, and bytes that no token has


def test_special_tokens_come_first_and_the_longest_wins():
    tokenizer = BPE.untrained(special=["<a>", "<a>b", "c"])
    assert tokenizer.encode("<a>bc<a>x").tolist() == [1, 2, 0, tokenizer.vocab[b"x"]]
    assert tokenizer.decode([1, 2, 0]) == "<a>bc<a>"
    assert tokenizer.decode([1, tokenizer.vocab[b"x"], 2], special=False) == "x"


def test_text_from_strangers_holds_no_special_tokens():
    ids = SMALL.encode("hi<|end|>", special=False)
    assert not set(ids.tolist()) & set(SMALL.special.values())
    assert SMALL.decode(ids) == "hi<|end|>"
    # And what was remembered for the one is not used for the other.
    tokenizer = BPE.untrained(special=["the"])
    assert len(tokenizer.encode("the", special=False)) == 3
    assert tokenizer.encode("the").tolist() == [0]


def test_special_tokens_in_the_training_text_are_skipped():
    plain = BPE.train("hello hello", 260, special=["<|x|>"])
    marked = BPE.train("hello<|x|> hello<|x|><|x|>", 260, special=["<|x|>"])
    assert marked.merges == plain.merges


def test_a_byte_without_a_token_is_left_out_with_a_warning():
    tokenizer = BPE([b"a", b"b", b"ab"], [(b"a", b"b")])
    with pytest.warns(
        UserWarning, match="BPE.encode: no token holds 0xa9, 0xc3: left out"
    ) as caught:
        # What is left of a piece closes up, as in the package tokenizers.
        assert tokenizer.encode("aéb").tolist() == [2]
    assert caught[0].filename == __file__
    known = BPE([b"a", b"b", b"ab"], [(b"a", b"b")], special={"<?>": 9}, unknown=9)
    assert known.encode("aéb").tolist() == [0, 9, 9, 1]


def test_a_character_cut_in_two_decodes_to_a_replacement():
    ids = BPE.untrained().encode("né")
    assert BPE.untrained().decode(ids[:-1]) == "n\ufffd"
    assert BPE.untrained().decode_bytes(ids[:-1]) == b"n\xc3"


# Files


def test_a_tokenizer_survives_its_files(tmp_path):
    names = dict(bos=SMALL.special["<|start|>"], eos=SMALL.special["<|end|>"])
    template = ChatTemplate("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")
    tokenizer = BPE(
        SMALL.vocab,
        SMALL.merges,
        "smollm",
        SMALL.special,
        **names,
        unknown=5,
        chat_template=template,
    )
    for path in (tmp_path / "folder", tmp_path / "name.json"):
        tokenizer.save(path)
        loaded = BPE.load(path)
        for name in ("vocab", "merges", "pattern", "special", "bos", "eos", "unknown"):
            assert getattr(loaded, name) == getattr(tokenizer, name), name
        text = loaded.chat_template.render([{"role": "user", "content": "né"}])
        assert text == "<|start|>né<|end|>"
    assert sorted(path.name for path in tmp_path.rglob("*.json")) == (
        ["name.json", "name_config.json", "tokenizer.json", "tokenizer_config.json"]
    )
    SMALL.save(tmp_path / "name.json")
    plain = BPE.load(tmp_path / "name.json")
    assert (plain.bos, plain.eos, plain.unknown, plain.chat_template) == (None, None, None, None)


@pytest.mark.reference
def test_hugging_faces_packages_read_what_is_saved(trained, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    trained.save(tmp_path)
    trained = BPE.load(tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text, ids in GOLDEN[trained.pattern]["ids"]:
        assert theirs.encode(text).ids == ids
        assert theirs.decode(ids, skip_special_tokens=False) == text
    theirs.save(str(tmp_path / "tokenizer.json"))
    again = BPE.load(tmp_path)
    assert (again.vocab, again.merges, again.special) == (
        (trained.vocab, trained.merges, trained.special)
    )
    chat = ChatTemplate("{{ messages[0].content }}{{ eos_token }}")
    BPE(
        trained.vocab, trained.merges, trained.pattern, trained.special, eos=0, chat_template=chat
    ).save(tmp_path)
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert auto("to be<|end|>")["input_ids"] == trained.encode("to be<|end|>").tolist()
    messages = [{"role": "user", "content": "né"}]
    assert auto.apply_chat_template(messages, tokenize=False) == "né<|end|>"


def contents(tmp_path):
    SMALL.save(tmp_path)
    return json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))


def loaded(tmp_path, contents):
    path = tmp_path / "tokenizer.json"
    path.write_text(contents if isinstance(contents, str) else json.dumps(contents))
    return BPE.load(path)


def test_all_spellings_of_hugging_faces_file_are_read(tmp_path):
    file = contents(tmp_path)
    file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]
    file["model"] |= {"continuing_subword_prefix": "", "dropout": None, "fuse_unk": False}
    del file["model"]["type"], file["decoder"], file["version"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    file["post_processor"] = byte_level
    assert loaded(tmp_path, file).merges == SMALL.merges
    file["pre_tokenizer"] = byte_level
    assert loaded(tmp_path, file).pattern == "gpt2"
    config = {"eos_token": {"content": "<|end|>"}, "chat_template": [{"name": "default"}]}
    config["chat_template"][0]["template"] = "from the list"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = loaded(tmp_path, file)
    assert (tokenizer.eos, tokenizer.chat_template.source) == (0, "from the list")
    (tmp_path / "chat_template.jinja").write_text("from its own file")
    assert BPE.load(tmp_path).chat_template.source == "from its own file"


FOREIGN = {
    "normalizer": ({"type": "NFC"}, "normalizer.type is 'NFC'"),
    "post_processor": ({"type": "TemplateProcessing"}, "post_processor.type is 'Template"),
    "decoder": ({"type": "Metaspace"}, "decoder.type is 'Metaspace'"),
    "pre_tokenizer": ({"type": "Metaspace"}, "is not one of \\['gpt2', 'smollm'\\]"),
    "added_tokens": ([{"content": "<s>", "id": 9, "lstrip": True}], "lstrip is not supported"),
    "model": ("BPE", "model must be a dict: 'BPE'"),
}
FOREIGN_MODEL = {
    "type": ("Unigram", "model.type is 'Unigram'; supported: \\['BPE', None\\]"),
    "dropout": (0.1, "model.dropout is 0.1"),
    "byte_fallback": (True, "model.byte_fallback is True"),
    "ignore_merges": (True, "model.ignore_merges is True"),
    "end_of_word_suffix": ("</w>", "model.end_of_word_suffix is '</w>'"),
    "unk_token": ("<none>", "model.unk_token '<none>' is no token"),
    "vocab": ({"a": 0, "日": 1}, "token '日' holds characters that stand for no byte"),
    "merges": (["a b c"], "merge 'a b c' is not two tokens"),
}


@pytest.mark.parametrize("key", FOREIGN)
def test_a_file_that_asks_for_something_else_is_refused(key, tmp_path):
    value, message = FOREIGN[key]
    with pytest.raises(ValueError, match=f"BPE.load: .*tokenizer.json: .*{message}"):
        loaded(tmp_path, contents(tmp_path) | {key: value})


@pytest.mark.parametrize("key", FOREIGN_MODEL)
def test_a_model_of_another_kind_is_refused(key, tmp_path):
    value, message = FOREIGN_MODEL[key]
    file = contents(tmp_path)
    file["model"][key] = value
    with pytest.raises(ValueError, match=f"BPE.load: .*tokenizer.json: .*{message}"):
        loaded(tmp_path, file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a JSON file"),
        ('{"model": ', "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ("[1, 2]", "holds no JSON object"),
        ("{}", "model is missing"),
        ('{"model": {"vocab": {"a": 0}}}', "merges is missing"),
        ('{"model": {"vocab": {"a": 0.5}, "merges": []}, "pre_tokenizer": {}}', "not one of"),
    ],
)
def test_a_damaged_file_is_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=f"BPE.load: .*tokenizer.json.*{message}"):
        loaded(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        BPE.load(tmp_path)


def refusal(path):
    """What is said against a file, or None when it is read."""
    try:
        BPE.load(path).encode("hello 10")
    except ValueError as error:
        return str(error)


def test_mutated_files_are_refused_or_read_never_more(tmp_path):
    tokenizer = BPE.train("hello hello, low 10 low", 264, "smollm", special=["<|x|>"])
    tokenizer.save(tmp_path)
    intact = (tmp_path / "tokenizer.json").read_bytes()
    rng, refused = random.Random(5), 0
    for _ in range(300):
        damaged = bytearray(intact)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.choice(b'{}[]",:0-9.eztrue\x00\xff ')
        if rng.random() < 0.1:
            damaged = damaged[: rng.randrange(len(damaged))]
        (tmp_path / "tokenizer.json").write_bytes(damaged)
        message = refusal(tmp_path)
        assert message is None or str(tmp_path) in message
        refused += message is not None
    assert 100 < refused < 300


GGUF = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": ["<|s|>", "<|e|>", "Ġ", "1", "t", "h", "th", "[PAD] 7"],
    "tokenizer.ggml.token_type": np.array([3, 3, 1, 1, 1, 1, 1, 5], dtype=np.int32),
    "tokenizer.ggml.merges": ["t h"],
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": np.uint32(1),
    "tokenizer.chat_template": "{{ bos_token }}{{ messages[0].content }}",
}


def test_the_metadata_of_a_gguf_file_make_a_tokenizer():
    tokenizer = BPE.from_gguf(GGUF)
    assert tokenizer.encode("<|s|>th 1<|e|>").tolist() == [0, 6, 2, 3, 1]
    assert (tokenizer.bos, tokenizer.eos, tokenizer.vocab_size) == (0, 1, 8)
    assert tokenizer.decode([6, 2, 7]) == "th [PAD] 7"
    messages = [{"role": "user", "content": "th"}]
    assert tokenizer.chat_template.render(messages) == "<|s|>th"
    plain = {key: value for key, value in GGUF.items() if "chat" not in key and "_id" not in key}
    tokenizer = BPE.from_gguf(plain)
    assert (tokenizer.bos, tokenizer.eos, tokenizer.chat_template) == (None, None, None)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ggml.model", "llama", "tokenizer.ggml.model is 'llama'; supported: 'gpt2'"),
        ("ggml.model", None, "tokenizer.ggml.model must be a str: None"),
        ("ggml.pre", "qwen2", "pre is 'qwen2'; supported: \\['gpt-2', 'smollm'\\]"),
        ("ggml.tokens", ["a", 7, "b"], "tokens: entry 1 must be a str, got 7"),
        ("ggml.tokens", ["a", "b"], "8 types of 2 tokens"),
        ("ggml.tokens", list("aabcdefg"), "a token is there twice"),
        ("ggml.token_type", [3, 3, 1, 1, 1, 1, 1, 6], "6 of token 7 is not supported"),
        ("ggml.merges", ["t h", "th 9"], "merge 1, b'th' and b'9', does not fit .* b'9' is not in"),
        ("ggml.merges", ["th"], "merge 'th' is not two tokens"),
        ("ggml.eos_token_id", 8, "eos_token_id is 8, outside 0 … 7"),
        ("ggml.bos_token_id", "s", "bos_token_id is 's', outside 0 … 7"),
        ("chat_template", 5, "tokenizer.chat_template must be a str: 5"),
    ],
)
def test_damaged_metadata_are_refused(key, value, message):
    with pytest.raises(ValueError, match=f"BPE.from_gguf: .*{message}"):
        BPE.from_gguf(GGUF | {f"tokenizer.{key}": value})


def test_missing_metadata_are_named():
    with pytest.raises(ValueError, match=r"tokenizer\.ggml\.model is missing"):
        BPE.from_gguf({"general.architecture": "llama"})


# Bad input


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(vocab=[b"a", b"b"], merges=[(b"a", b"b")]), ValueError, "b'ab' is not in it"),
        (dict(vocab=[b"b", b"ab"], merges=[(b"a", b"b")]), ValueError, "merge 0, .*b'a' is not"),
        (dict(vocab=[b"a"], merges=[(b"a",)]), TypeError, "merge 0 must be two tokens as bytes"),
        (dict(vocab=[b"a"], merges=["aa"]), TypeError, "merge 0 must be two tokens as bytes"),
        (dict(vocab=[b"a", b"a"], merges=[]), ValueError, "b'a' is given twice, as 0 and 1"),
        (dict(vocab={b"a": 3, b"b": 3}, merges=[]), ValueError, "id 3 is given to both b'a' and"),
        (dict(vocab={b"a": -1}, merges=[]), ValueError, "id of b'a' is -1, outside 0 …"),
        (dict(vocab={b"a": 2**31}, merges=[]), ValueError, "outside 0 … 2147483647"),
        (dict(vocab={b"a": 1.0}, merges=[]), TypeError, "id of b'a' must be an integer, got 1.0"),
        (dict(vocab=["a"], merges=[]), TypeError, "expected tokens as bytes, got 'a'"),
        (dict(vocab=b"abc", merges=[]), TypeError, "expected a sequence of tokens"),
        (dict(vocab=[b"a", b""], merges=[]), ValueError, "the token with id 1 is empty"),
        (dict(vocab=[b"<s>"], merges=[], special={"<s>": 0}), ValueError, "holds no token"),
        (dict(vocab=[b"a"], merges=[], pattern="gpt4"), ValueError, "unknown pattern 'gpt4'"),
        (dict(vocab=[b"a"], merges=[], special={"<s>": 0}), ValueError, "id 0 is both b'a' and"),
        (dict(vocab=[b"a"], merges=[], eos=7), ValueError, "eos=7 is not the id of a token"),
    ],
)
def test_a_vocabulary_that_cannot_be_is_refused(arguments, error, message):
    with pytest.raises(error, match=f"BPE: .*{message}"):
        BPE(**arguments)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([0, 3, 300], IndexError, "id 300 at position 2 is not the id of a token; .* 0 … 299"),
        ([0, -1], IndexError, "id -1 at position 1"),
        ([0.0, 1.0], TypeError, "must be integers, got dtype float64"),
        ([[0, 1]], ValueError, r"shape \(L,\), got \(1, 2\)"),
    ],
)
def test_bad_ids_are_named(ids, error, message):
    with pytest.raises(error, match=f"BPE.decode: .*{message}"):
        SMALL.decode(ids)


def test_encode_takes_whole_text_only():
    with pytest.raises(TypeError, match="expected a str, got bytes"):
        SMALL.encode(b"no")
    with pytest.raises(ValueError, match=r"'\\ud83d' at position 3 is half of a surrogate pair"):
        SMALL.encode("no \ud83d!")


def test_training_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"at least 258, for 256 bytes and 2 special.*got 257"):
        BPE.train("text", 257, special=["<s>", "</s>"])
    with pytest.raises(ValueError, match=r"one token once there are 259 of them.*learn 1000"):
        BPE.train("text", 1000)
    with pytest.raises(TypeError, match="expected a str, got list"):
        BPE.train(["text"], 300)
    with pytest.raises(TypeError, match="expected a sequence of tokens, got the one '<s>'"):
        BPE.train("text", 258, special="<s>")
    with pytest.raises(ValueError, match="unknown pattern 'gpt9'"):
        BPE.train("text", 258, "gpt9")
    with pytest.raises(ValueError, match="unknown pre-tokenizer 'gpt9'"):
        pretokenize("text", "gpt9")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "regex", None)
    monkeypatch.setattr("minigrad.text.pretokenize._finders", _finders.__wrapped__)
    with pytest.raises(ImportError, match="need the package regex: pip install regex"):
        SMALL.encode("text")
