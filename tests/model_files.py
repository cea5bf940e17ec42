"""Small files of weights for the tests, written byte by byte, so that any byte can be wrong."""

import json
import struct

import numpy as np

# Of each quantized kind: its number in GGUF, values and bytes of a block, where its float16s are.
QUANTIZED = {
    "Q4_0": (2, 32, 18, (0,)),
    "Q4_1": (3, 32, 20, (0, 2)),
    "Q5_0": (6, 32, 22, (0,)),
    "Q5_1": (7, 32, 24, (0, 2)),
    "Q8_0": (8, 32, 34, (0,)),
    "Q4_K": (12, 256, 144, (0, 2)),
    "Q5_K": (13, 256, 176, (0, 2)),
    "Q6_K": (14, 256, 210, (208,)),
}
CODES = {"F32": 0, "F16": 1, "BF16": 30, "F64": 28} | {k: v[0] for k, v in QUANTIZED.items()}
TYPES = {bool: 7, str: 8, float: 12, list: 9}
SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd"))

EXTREMES = np.array([0, 1, 2, 255, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**63], np.uint64)


def string(text):
    """A GGUF string."""
    content = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(content)) + content


def value(item):
    """A GGUF value with its type: a Python value, or (type, number), or (type, [numbers])."""
    code, item = item if isinstance(item, tuple) else (TYPES.get(type(item), 4), item)
    if isinstance(item, list):
        items = [
            string(each) if code == 8 else struct.pack("<" + SCALARS[code], each) for each in item
        ]
        return struct.pack("<IIQ", 9, code, len(item)) + b"".join(items)
    return struct.pack("<I", code) + (
        string(item) if code == 8 else struct.pack("<" + SCALARS[code], item)
    )


def gguf(metadata, tensors, alignment=32, version=3):
    """The bytes of a GGUF file; tensors are {name: (kind, shape in NumPy's order, bytes)}."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(string(key) + value(item) for key, item in metadata.items())
    data = b""
    for name, (kind, shape, content) in tensors.items():
        head += string(name) + struct.pack("<I", len(shape))
        head += struct.pack(f"<{len(shape)}Q", *reversed(shape))
        head += struct.pack("<IQ", CODES.get(kind, kind), len(data))
        data += content + b"\0" * (-len(content) % alignment)
    return head + b"\0" * (-len(head) % alignment) + data


def blocks(kind, count, rng):
    """Random bytes of a number of blocks whose scales are small ordinary numbers."""
    _, _, size, halves = QUANTIZED[kind]
    content = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in halves:
        scales = rng.normal(size=count).astype(np.float16)
        content[:, at : at + 2] = scales.view(np.uint8).reshape(count, 2)
    return content


def safetensors(header, data, length=None):
    """The bytes of a safetensors file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tiny_llama(rng, n_heads=6, n_kv_heads=2, d_head=4, d_model=32, d_hidden=96, vocab=40, layers=2):
    """(metadata, tensors, {our name: array}) of a Llama with random weights, as ``gguf`` takes
    them: the embedding in F16, the MLP in Q8_0, all else in F32."""
    metadata = {
        "general.architecture": "llama",
        "llama.context_length": 19,
        "llama.embedding_length": d_model,
        "llama.block_count": layers,
        "llama.feed_forward_length": d_hidden,
        "llama.attention.head_count": n_heads,
        "llama.attention.head_count_kv": n_kv_heads,
        "llama.attention.key_length": d_head,
        "llama.attention.value_length": d_head,
        "llama.attention.layer_norm_rms_epsilon": (6, 1e-5),
        "llama.rope.freq_base": (6, 500.0),
        "llama.rope.dimension_count": d_head,
    }
    tensors, ours = {}, {}

    def add(name, our_name, *shape, kind="F32", heads=0):
        array = rng.normal(size=shape).astype(np.float16).astype(np.float32) * 0.25
        if kind == "Q8_0":
            content = blocks(kind, array.size // 32, rng)
            scales = content[:, :2].copy().view(np.float16).astype(np.float32)
            array = (scales * content[:, 2:].view(np.int8)).reshape(shape)
        stored = array
        if heads:  # llama.cpp's order: value j of the first half, then value j of the second
            halves = array.reshape(heads, 2, d_head // 2, -1)
            stored = np.stack([halves[:, 0], halves[:, 1]], axis=2).reshape(shape)
        if kind != "Q8_0":
            content = stored.astype({"F32": "<f4", "F16": "<f2"}[kind])
        tensors[name] = (kind, shape, content.tobytes())
        ours[our_name] = array.T if len(shape) == 2 and kind != "F16" else array

    add("token_embd.weight", "token_embedding.weight", vocab, d_model, kind="F16")
    for i in range(layers):
        theirs, our = f"blk.{i}.", f"blocks.{i}."
        add(theirs + "attn_norm.weight", our + "norm_1.weight", d_model)
        for part, n in (("query", n_heads), ("key", n_kv_heads), ("value", n_kv_heads)):
            add(
                f"{theirs}attn_{part[0]}.weight",
                f"{our}attention.{part}.weight",
                *(n * d_head, d_model),
                heads=n if part != "value" else 0,
            )
        add(
            theirs + "attn_output.weight",
            our + "attention.output.weight",
            d_model,
            n_heads * d_head,
        )
        add(theirs + "ffn_norm.weight", our + "norm_2.weight", d_model)
        for part in ("gate", "up"):
            name = f"{theirs}ffn_{part}.weight"
            add(name, f"{our}mlp.{part}.weight", d_hidden, d_model, kind="Q8_0")
        add(theirs + "ffn_down.weight", our + "mlp.down.weight", d_model, d_hidden, kind="Q8_0")
    add("output_norm.weight", "norm.weight", d_model)
    add("output.weight", "head.weight", vocab, d_model)
    return metadata, tensors, ours


def mutations(content, count, seed):
    """``count`` damaged versions of some bytes: flipped, cut, grown, with numbers overwritten."""
    rng = np.random.default_rng(seed)
    # Most of what can go wrong is in the first bytes: lengths, counts, types, offsets.
    front = max(64, content.rfind(b"weight") + 40)
    for _ in range(count):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 3)):
            end = front if rng.random() < 0.6 else len(damaged)
            at = int(rng.integers(min(end, len(damaged))))
            match rng.integers(10):
                case 0 | 1:
                    damaged[at] ^= 1 << int(rng.integers(8))
                case 2 | 3:
                    damaged[at] = int(rng.integers(256))
                case 4:
                    del damaged[at:]
                case 5:
                    damaged += bytes(int(rng.integers(1, 200)))
                case 6:
                    del damaged[at : at + int(rng.integers(1, 20))]
                case 7:
                    damaged[at:at] = rng.bytes(int(rng.integers(1, 20)))
                case 8:
                    damaged[at : at + 8] = rng.choice(EXTREMES).tobytes()
                case 9:
                    damaged[at : at + 4] = rng.choice(EXTREMES).tobytes()[:4]
            if not damaged:
                break
        yield bytes(damaged)


def refusal(function, *arguments):
    """The words of the ValueError that a call raises, or None if it raises nothing."""
    try:
        function(*arguments)
    except ValueError as error:
        return str(error)
    return None
