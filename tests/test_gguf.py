"""GGUF files: what is in them comes out, bit for bit; what is wrong with them is said."""

import struct
import tracemalloc

import ml_dtypes
import model_files
import numpy as np
import pytest
from model_files import QUANTIZED, blocks, gguf, string

from minigrad import models
from minigrad.models import quants, store
from minigrad.models.gguf import GGUF
from minigrad.models.source import Place

SMOLLM2 = store.cached("smollm2-135m-instruct")
F32 = np.arange(6, dtype="<f4").reshape(2, 3) - 2.5


def made(folder, content):
    path = folder / "x.gguf"
    path.write_bytes(content)
    return path


def opened(folder, *args, **settings):
    return GGUF(made(folder, gguf(*args, **settings)))


def test_metadata_of_every_type_come_out_as_they_went_in(tmp_path):
    numbers = {0: 255, 1: -128, 2: 65_535, 3: -7, 4: 2**32 - 1, 5: -(2**31), 10: 2**64 - 1, 11: -5}
    metadata = {f"n{code}": (code, number) for code, number in numbers.items()}
    metadata |= {"f": (6, 0.25), "d": 1e300, "yes": True, "no": False, "text": "naïve 🙂", "": ""}
    metadata |= {"floats": (6, [1.5, -2.0]), "bools": (7, [True, False, True]), "none": (4, [])}
    metadata |= {"words": (8, ["", "Ġthe", "é"]), "longs": (11, [-1, 2**62]), "last": (0, 3)}
    found = opened(tmp_path, metadata, {}).metadata
    assert list(found) == list(metadata)
    for code, number in numbers.items():
        assert found[f"n{code}"] == number
    assert (found["f"], found["d"], found["yes"], found["no"]) == (0.25, 1e300, True, False)
    assert (found["text"], found[""], found["last"]) == ("naïve 🙂", "", 3)
    assert found["floats"].tolist() == [1.5, -2.0]
    assert found["bools"].tolist() == [True, False, True]
    assert found["longs"].tolist() == [-1, 2**62] and found["none"].size == 0
    words = found["words"]
    assert list(words) == ["", "Ġthe", "é"] and words[-1] == "é" and words[1:] == ["Ġthe", "é"]
    assert len(words) == 3 and "Ġthe" in words
    with pytest.raises(IndexError):
        words[3]
    with pytest.raises(ValueError, match="read-only"):
        found["floats"][0] = 1


@pytest.mark.parametrize("alignment", [8, 32, 256])
@pytest.mark.parametrize("version", [2, 3])
def test_plain_tensors_come_out_with_numpys_shapes(tmp_path, alignment, version):
    half = F32[:, :2].astype("<f2")
    bf16 = np.arange(24).reshape(2, 3, 4).astype(ml_dtypes.bfloat16)
    double = np.array([1e-300, 2.0, 3.0])
    tensors = {
        "a": ("F32", F32.shape, F32.tobytes()),
        "b": ("F16", half.shape, half.tobytes()),
        "c": ("BF16", bf16.shape, bf16.tobytes()),
        "d": ("F64", double.shape, double.tobytes()),
    }
    metadata = {"general.alignment": (4, alignment)}
    file = opened(tmp_path, metadata, tensors, alignment, version)
    assert [info.offset % alignment for info in file.tensors.values()] == [0] * 4
    for name, array in (("a", F32), ("b", half), ("c", bf16), ("d", double)):
        assert file.tensors[name].shape == array.shape
        np.testing.assert_array_equal(file.read(name, np.float64), array.astype(np.float64))
    assert file.read("a").dtype == np.float32
    out = np.empty((3, 2), np.float16)
    file.read_into(out, Place("a", transpose=True))
    np.testing.assert_array_equal(out, F32.T)


def by_hand(kind, block):
    """The values of one block, number by number, as the comments in ggml-common.h have them."""
    half = lambda at: float(np.frombuffer(block[at : at + 2].tobytes(), np.float16)[0])
    b = [int(byte) for byte in block]
    nibble = lambda start, i: b[start + i % 16] >> 4 * (i // 16) & 15
    bit = lambda start, i: b[start + i // 8] >> i % 8 & 1
    match kind:
        case "Q4_0":
            return [half(0) * (nibble(2, i) - 8) for i in range(32)]
        case "Q4_1":
            return [half(0) * nibble(4, i) + half(2) for i in range(32)]
        case "Q5_0":
            return [half(0) * (nibble(6, i) + 16 * bit(2, i) - 16) for i in range(32)]
        case "Q5_1":
            return [half(0) * (nibble(8, i) + 16 * bit(4, i)) + half(2) for i in range(32)]
        case "Q8_0":
            return [half(0) * (b[2 + i] - 256 * (b[2 + i] > 127)) for i in range(32)]
        case "Q6_K":
            values = []
            for i in range(256):
                h, j = divmod(i, 128)
                low = b[64 * h + j % 64] >> 4 * (j // 64) & 15
                high = b[128 + 32 * h + j % 32] >> 2 * (j // 32) & 3
                scale = b[192 + i // 16] - 256 * (b[192 + i // 16] > 127)
                values.append(half(208) * scale * (low + 16 * high - 32))
            return values
    values = []
    for i in range(256):
        j = i // 32
        if j < 4:
            scale, least = b[4 + j] & 63, b[8 + j] & 63
        else:
            scale = b[8 + j] & 15 | b[j] >> 6 << 4
            least = b[8 + j] >> 4 | b[4 + j] >> 6 << 4
        q = b[(16 if kind == "Q4_K" else 48) + 32 * (j // 2) + i % 32] >> 4 * (j % 2) & 15
        if kind == "Q5_K":
            q += 16 * (b[16 + i % 32] >> j & 1)
        values.append(half(0) * scale * q - half(2) * least)
    return values


@pytest.mark.parametrize("kind", QUANTIZED)
def test_quantized_values_are_those_of_the_formula(kind):
    content = blocks(kind, 6, np.random.default_rng(3))
    expected = np.array([by_hand(kind, block) for block in content])
    block = QUANTIZED[kind][1]
    out = np.empty((3, 2 * block), np.float32)
    quants.dequantize(content.reshape(3, -1), quants.KINDS[QUANTIZED[kind][0]], out)
    np.testing.assert_allclose(out, expected.reshape(out.shape), rtol=3e-7, atol=1e-5)


@pytest.mark.parametrize("kind", QUANTIZED)
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_transposing_and_many_rows_change_nothing(kind, dtype):
    code, block, *_ = QUANTIZED[kind]
    rows, columns = 517, 3 * block
    content = blocks(kind, rows * 3, np.random.default_rng(4)).reshape(rows, -1)
    kind = quants.KINDS[code]
    across, down = np.empty((rows, columns), dtype), np.empty((columns, rows), dtype)
    quants.dequantize(content, kind, across)
    quants.dequantize(content, kind, down, transpose=True)
    np.testing.assert_array_equal(across.T, down)
    one = np.empty((1, columns), np.float32)
    quants.dequantize(content[333:334], kind, one)
    np.testing.assert_array_equal(one[0].astype(dtype), across[333])


@pytest.mark.reference
@pytest.mark.parametrize("kind", [*QUANTIZED, "BF16", "F16"])
def test_values_equal_those_of_the_package_bit_for_bit(kind):
    gguf_package = pytest.importorskip("gguf")
    rng = np.random.default_rng(5)
    if kind in QUANTIZED:
        content = blocks(kind, 70 * 6, rng).reshape(70, -1)
    else:
        content = rng.integers(0, 127, (70, 600), dtype=np.uint8)  # finite: no exponent is full
        content[:, 1::2] %= 64
    code = model_files.CODES[kind]
    expected = gguf_package.dequantize(content, gguf_package.GGMLQuantizationType(code))
    out = np.empty(expected.shape, np.float32)
    quants.dequantize(content, quants.KINDS[code], out)
    np.testing.assert_array_equal(out.view(np.uint32), expected.view(np.uint32))


@pytest.mark.reference
def test_kinds_have_the_packages_sizes():
    constants = pytest.importorskip("gguf").constants
    for code, kind in quants.KINDS.items():
        assert constants.GGMLQuantizationType(code).name == kind.name
        expected = constants.GGML_QUANT_SIZES[constants.GGMLQuantizationType(code)]
        if kind.name not in ("Q8_1", "Q8_K"):  # never in files; the package counts other fields
            assert (kind.block, kind.nbytes) == expected, kind


@pytest.mark.reference
def test_a_file_by_the_package_is_read(tmp_path):
    gguf_package = pytest.importorskip("gguf")
    path, rng = tmp_path / "x.gguf", np.random.default_rng(6)
    weights = rng.normal(size=(5, 64)).astype(np.float32)
    kind = gguf_package.GGMLQuantizationType.Q5_1
    quantized = gguf_package.quantize(weights, kind)
    writer = gguf_package.GGUFWriter(path, "llama")
    writer.add_context_length(77)
    writer.add_token_list(["a", "b"])
    writer.add_tensor("w", quantized, raw_dtype=kind)
    writer.add_tensor("norm", weights[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GGUF(path)
    assert file.metadata["general.architecture"] == "llama"
    assert file.metadata["llama.context_length"] == 77
    assert list(file.metadata["tokenizer.ggml.tokens"]) == ["a", "b"]
    np.testing.assert_array_equal(file.read("norm"), weights[0])
    np.testing.assert_array_equal(file.read("w"), gguf_package.dequantize(quantized, kind))


@pytest.mark.reference
@pytest.mark.skipif(SMOLLM2 is None, reason="needs `minigrad download smollm2-135m-instruct`")
def test_all_of_smollm2_equals_what_the_package_reads():
    gguf_package = pytest.importorskip("gguf")
    file, reader = GGUF(SMOLLM2), gguf_package.GGUFReader(SMOLLM2)
    assert [tensor.name for tensor in reader.tensors] == list(file.tensors)
    for tensor in reader.tensors:
        expected = gguf_package.dequantize(tensor.data, tensor.tensor_type)
        info = file.tensors[tensor.name]
        assert (info.offset, info.nbytes) == (tensor.data_offset, tensor.n_bytes)
        values = file.read(tensor.name)
        assert values.shape == expected.shape
        np.testing.assert_array_equal(values, expected, err_msg=tensor.name)
    for key, item in file.metadata.items():
        expected = reader.get_field(key).contents()
        assert (list(item) if hasattr(item, "__len__") else item) == (
            list(expected) if hasattr(expected, "__len__") else expected
        ), key


def info(name=b"w", axes=2, sizes=(3, 2), kind=0, offset=0):
    """The info of one tensor, 3 by 2 in F32 unless told otherwise."""
    return string(name) + struct.pack(f"<I{len(sizes)}QIQ", axes, *sizes, kind, offset)


def file_of(*infos, entries=(), data=bytes(32), counts=None):
    """A file of given infos and metadata entries, each as bytes."""
    counts = counts or (len(infos), len(entries))
    head = b"GGUF" + struct.pack("<IQQ", 3, *counts) + b"".join(entries) + b"".join(infos)
    return head + bytes(-len(head) % 32) + data


def entry(key, code, content):
    return string(key) + struct.pack("<I", code) + content


BAD = {
    "empty": (b"", "not a GGUF file: 0 bytes"),
    "short": (b"GGUF\3\0\0\0", "not a GGUF file: 8 bytes"),
    "foreign": (b"PK\3\4" + bytes(100), r"byte 0: not a GGUF file: it begins with b'PK\\x03\\x04'"),
    "big-endian": (
        b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        "byte 4: a GGUF file for big-endian machines; expected little-endian",
    ),
    "old": (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "byte 4: GGUF version 1; expected 2 or 3"),
    "new": (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "GGUF version 4"),
    "too many entries": (
        file_of(counts=(0, 2**60)),
        r"metadata entries would take [\d,]+ bytes, the file has 40 more",
    ),
    "too many tensors": (file_of(counts=(2**60, 0)), "the infos of .* tensors would take"),
    "long key": (file_of(entries=[struct.pack("<Q", 2**63)]), "bytes of the key of metadata entry"),
    "key twice": (
        file_of(entries=[entry("k", 0, b"1"), entry("k", 0, b"2")]),
        "metadata k for the",
    ),
    "key no text": (file_of(entries=[entry(b"\xff", 0, b"1")]), "byte 24: .* is not UTF-8"),
    "odd type": (file_of(entries=[entry("k", 13, b"1")]), "byte 33: metadata k has type 13"),
    "odd bool": (file_of(entries=[entry("k", 7, b"\2")]), "metadata k is a bool of value 2"),
    "array in array": (
        file_of(entries=[entry("k", 9, struct.pack("<IQ", 9, 1))]),
        "metadata k is an array of type 9; expected numbers, bools or strings",
    ),
    "long array": (
        file_of(entries=[entry("k", 9, struct.pack("<IQ", 12, 2**61))]),
        "elements of metadata k would take",
    ),
    "many strings": (
        file_of(entries=[entry("k", 9, struct.pack("<IQ", 8, 2**40))]),
        "strings of metadata k would take",
    ),
    "long string": (
        file_of(entries=[entry("k", 9, struct.pack("<IQQQ", 8, 2, 2**62, 0))]),
        "string 0 of the 2 in metadata k would end at byte",
    ),
    "last string": (
        file_of(entries=[entry("k", 9, struct.pack("<IQQ", 8, 1, 999))]),
        "metadata k would end at byte 1,056",
    ),
    "odd alignment": (
        file_of(entries=[entry("general.alignment", 4, struct.pack("<I", 24))]),
        "general.alignment is 24; expected a power of two",
    ),
    "no axes": (file_of(info(axes=0, sizes=())), "tensor w has 0 axes; expected 1 to 4"),
    "many axes": (file_of(info(axes=9)), "tensor w has 9 axes"),
    "no size": (file_of(info(sizes=(3, 0))), r"tensor w has sizes \[3, 0\]; expected at least 1"),
    "huge": (file_of(info(sizes=(2**62, 2**62))), r"in F32 would take [\d,]+ bytes, the file has"),
    "odd kind": (file_of(info(kind=77)), "byte 53: tensor w has the unknown quantization type 77"),
    "broken block": (
        file_of(info(kind=8)),
        "tensor w has rows of 3; Q8_0 needs a multiple of 32",
    ),
    "lying offset": (
        file_of(info(offset=64)),
        "byte 24: tensor w is said to begin at byte 160; expected 96",
    ),
    "lying far": (file_of(info(offset=2**63)), "is said to begin at byte"),
    "overlap": (file_of(info(), info(b"v")), "tensor w is said to begin at byte|tensor v is said"),
    "twice": (file_of(info(), info(offset=32)), "tensor w for the second time"),
    "truncated": (
        file_of(info(), data=bytes(23)),
        "truncated: tensor w ends at byte 120, the file",
    ),
    "overlong": (
        file_of(info(), data=bytes(33)),
        "overlong: 129 bytes, its last tensor ends at 120",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_refused_with_the_place(tmp_path, what):
    content, message = BAD[what]
    path = made(tmp_path, content)
    with pytest.raises(ValueError, match=message) as caught:
        GGUF(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_good_file_by_the_same_hand_is_read(tmp_path):
    content = file_of(info(), data=F32.tobytes())
    np.testing.assert_array_equal(GGUF(made(tmp_path, content)).read("w"), F32)


def test_strings_that_are_no_text_are_refused_when_read(tmp_path):
    words = opened(tmp_path, {"words": (8, ["fine", b"\xff\xfe"])}, {}).metadata["words"]
    assert words[0] == "fine"
    with pytest.raises(ValueError, match=r"x\.gguf: string 1 of metadata words at byte 65 is not"):
        list(words)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_with_their_place(tmp_path, number):
    array = np.ones((300, 700), "<f4")
    array[211, 633] = number
    content = blocks("Q4_1", 40, np.random.default_rng(0)).reshape(20, 2, 20)
    content[17, 1, 2:4] = np.array([number], "<f2").view(np.uint8)
    tensors = {
        "a": ("F32", array.shape, array.tobytes()),
        "b": ("Q4_1", (20, 64), content.tobytes()),
    }
    file = opened(tmp_path, {}, tensors)
    where = r"x\.gguf: tensor a \(F32, shape \(300, 700\), at byte 128\): the value at row 211, "
    with pytest.raises(ValueError, match=where + f"column 633 is {number}: it is not finite"):
        file.read("a")
    for place in (Place("b"), Place("b", transpose=True)):
        out = np.empty((64, 20) if place.transpose else (20, 64), np.float32)
        with pytest.raises(
            ValueError, match=r"tensor b .* row 17, column 32 is .*: it is not finite"
        ):
            file.read_into(out, place)


def test_values_too_large_for_the_dtype_are_refused(tmp_path):
    array = np.array([[1, 2], [3, 65_519], [65_520, 5]], "<f4")  # 65,519 still rounds to 65,504
    file = opened(tmp_path, {}, {"a": ("F32", array.shape, array.tobytes())})
    with pytest.raises(ValueError, match="row 2, column 0 is 65520: it does not fit into float16"):
        file.read("a", np.float16)
    assert file.read("a", ml_dtypes.bfloat16)[2, 0] == 65_536
    double = np.array([1.0, -1e39])
    file = opened(tmp_path, {}, {"a": ("F64", double.shape, double.tobytes())})
    with pytest.raises(ValueError, match="index 1 is -1e\\+39: it does not fit into float32"):
        file.read("a")


def test_a_kind_that_is_not_read_is_named(tmp_path):
    file = opened(tmp_path, {}, {"a": (16, (1, 256), bytes(66))})
    assert file.tensors["a"].kind.name == "IQ2_XXS"
    message = r"tensor a \(IQ2_XXS, .* cannot be read here; these kinds can: F32, F16, Q4_0"
    with pytest.raises(ValueError, match=message):
        file.read("a")


def with_tokenizer(rng):
    """A tiny Llama whose file has a byte-level tokenizer too."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    tokens = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    tokens += ["th", "the", "<|end|>"]
    metadata, tensors, _ = model_files.tiny_llama(rng, vocab=259, layers=1)
    metadata |= {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": (8, tokens),
        "tokenizer.ggml.token_type": (5, [1] * 258 + [3]),
        "tokenizer.ggml.merges": (8, ["t h", "th e"]),
        "tokenizer.ggml.eos_token_id": 258,
        "tokenizer.chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
    }
    return gguf(metadata, tensors)


def outcomes_of_mutations(folder, count, seed):
    """How often a damaged file was refused, and loaded all the same."""
    outcomes = {"refused": 0, "loaded": 0}
    content = with_tokenizer(np.random.default_rng(1))
    assert models.load(made(folder, content)).tokenizer.decode([257]) == "the"
    tracemalloc.start()
    try:
        for i, damaged in enumerate(model_files.mutations(content, count, seed)):
            tracemalloc.reset_peak()
            path = made(folder, damaged)
            refused = model_files.refusal(models.load, path)
            assert refused is None or str(path) in refused, f"mutation {i}: {refused}"
            outcomes["refused" if refused else "loaded"] += 1
            # Tokenizer, template and 60 KB of weights in four bytes each.
            assert tracemalloc.get_traced_memory()[1] < 30e6, f"mutation {i}"
    finally:
        tracemalloc.stop()
    return outcomes


def test_damaged_files_are_refused_or_read_never_more(tmp_path):
    outcomes = outcomes_of_mutations(tmp_path, 300, seed=0)
    assert min(outcomes.values()) > 20, outcomes


@pytest.mark.slow
def test_thousands_of_damaged_files_are_refused_or_read(tmp_path):
    outcomes = outcomes_of_mutations(tmp_path, 5_000, seed=1)
    assert min(outcomes.values()) > 500, outcomes
