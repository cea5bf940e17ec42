"""Where byte-pair encodings are kept: Hugging Face's ``tokenizer.json``, and GGUF.

Both write a token's bytes as characters that can be seen: printable ones stand for themselves, the
others for a character from U+0100 on, so that a space is ``Ġ`` and the end of a line ``Ċ``.
"""

import json
from pathlib import Path

import numpy as np

from minigrad.files import replacing
from minigrad.text.chat import ChatTemplate

PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTES = PRINTABLE + [byte for byte in range(256) if byte not in PRINTABLE]
SHOWN = {byte: chr(byte if i < len(PRINTABLE) else 68 + i) for i, byte in enumerate(BYTES)}
# A character below U+0100 that does not stand for itself must not pass for a byte.
HIDDEN = dict.fromkeys(range(256), "\uffff") | {ord(c): chr(byte) for byte, c in SHOWN.items()}

BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
DIGITS = {"type": "Digits", "individual_digits": True}
STEPS = {"gpt2": [BYTE_LEVEL], "smollm": [DIGITS, BYTE_LEVEL]}
# All that a file may say elsewhere without changing an id.
HARMLESS = {
    ("model", "type"): ("BPE", None),
    ("model", "dropout"): (None, 0),
    ("model", "continuing_subword_prefix"): (None, ""),
    ("model", "end_of_word_suffix"): (None, ""),
    ("model", "byte_fallback"): (None, False),
    ("model", "ignore_merges"): (None, False),
    ("normalizer", "type"): (None,),
    ("post_processor", "type"): (None, "ByteLevel"),
    ("decoder", "type"): (None, "ByteLevel"),
}
ADDED_FLAGS = ("single_word", "lstrip", "rstrip")

GGUF_PATTERNS = {"gpt-2": "gpt2", "smollm": "smollm"}
# Token types in GGUF that are no text; type 5 fills up rows that no text leads to.
GGUF_NORMAL, GGUF_UNUSED, GGUF_SPECIAL = 1, 5, (2, 3, 4)


def show(token):
    """A token's bytes as they stand in a file: ``b" a\\n"`` as ``ĠaĊ``."""
    return token.decode("latin-1").translate(SHOWN)


def unshow(text):
    """The bytes of a token in a file; ValueError for characters that stand for no byte."""
    try:
        return text.translate(HIDDEN).encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"token {text!r} holds characters that stand for no byte") from None


def write(tokenizer, path):
    """Write a BPE as ``tokenizer.json`` and ``tokenizer_config.json``; see :meth:`BPE.save`."""
    names = {id: show(token) for token, id in tokenizer.vocab.items()}
    names |= {id: text for text, id in tokenizer.special.items()}
    if len(set(names.values())) < len(names):
        raise ValueError("BPE.save: a special token reads like an ordinary one in a file")
    flags = dict.fromkeys((*ADDED_FLAGS, "normalized"), False) | {"special": True}
    special = sorted(tokenizer.special.items(), key=lambda item: item[1])
    contents = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": id, "content": text, **flags} for text, id in special],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": STEPS[tokenizer.pattern]},
        "post_processor": None,
        "decoder": BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "unk_token": names.get(tokenizer.unknown),
            "vocab": {names[id]: id for id in sorted(names)},
            "merges": [[show(left), show(right)] for left, right in tokenizer.merges],
        },
    }
    template = tokenizer.chat_template
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": names.get(tokenizer.bos),
        "eos_token": names.get(tokenizer.eos),
        "chat_template": template.source if template else None,
    }
    file, config_file = _places(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    for where, what in ((file, contents), (config_file, config)):
        with replacing(where, "w", encoding="utf-8") as opened:
            json.dump(what, opened, ensure_ascii=False, indent=1)


def read(path):
    """The arguments of BPE from a ``tokenizer.json``; see :meth:`BPE.load`."""
    file, config_file = _places(path)
    contents = _json(file)
    config = _json(config_file) if config_file.is_file() else {}
    template_file = file.with_name("chat_template.jinja")
    if template_file.is_file():
        config["chat_template"] = template_file.read_text(encoding="utf-8")

    for (part, key), allowed in HARMLESS.items():
        value = (_get(contents, part, dict, {}) or {}).get(key)
        if value not in allowed:
            raise ValueError(f"{part}.{key} is {value!r}; supported: {list(allowed)}")
    model = _get(contents, "model", dict)
    special = _added(_get(contents, "added_tokens", list, []))
    names = _get(model, "vocab", dict)
    for text, id in special.items():
        if names.get(text, id) != id:
            raise ValueError(f"{text!r} is token {names[text]}, and as an added token {id}")
    ids = names | special
    unknown = _get(model, "unk_token", str, None)
    if unknown is not None and model.get("fuse_unk"):
        raise ValueError("model.fuse_unk is not supported")
    return dict(
        vocab={unshow(text): id for text, id in names.items() if text not in special},
        merges=[_pair(merge) for merge in _get(model, "merges", list)],
        pattern=_pattern(_get(contents, "pre_tokenizer", dict)),
        special=special,
        unknown=_id(unknown, ids, "model.unk_token"),
        **_roles(config, ids),
    )


def from_gguf(metadata):
    """The arguments of BPE from a GGUF file's metadata; see :meth:`BPE.from_gguf`."""
    kind = _get(metadata, "tokenizer.ggml.model", str)
    if kind != "gpt2":
        raise ValueError(f"tokenizer.ggml.model is {kind!r}; supported: 'gpt2', byte-level BPE")
    pattern = _get(metadata, "tokenizer.ggml.pre", str)
    if pattern not in GGUF_PATTERNS:
        raise ValueError(f"tokenizer.ggml.pre is {pattern!r}; supported: {list(GGUF_PATTERNS)}")
    texts = _strings(metadata, "tokenizer.ggml.tokens")
    vocab, special = _by_type(texts, metadata.get("tokenizer.ggml.token_type"))
    roles = {name: metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
    spelled = {}
    for name, id in roles.items():
        if id is not None and id not in range(len(texts)):
            where = f"tokenizer.ggml.{name}_token_id"
            raise ValueError(f"{where} is {id!r}, outside 0 … {len(texts) - 1}")
        spelled |= {} if id is None else {f"{name}_token": texts[id]}
    template = _get(metadata, "tokenizer.chat_template", str, None)
    return dict(
        vocab=vocab,
        merges=[_pair(merge) for merge in _strings(metadata, "tokenizer.ggml.merges")],
        pattern=GGUF_PATTERNS[pattern],
        special=special,
        chat_template=template and ChatTemplate(template, **spelled),
        **roles,
    )


def _by_type(texts, types):
    """(vocabulary, special tokens) of GGUF's tokens; without types all are ordinary."""
    types = [GGUF_NORMAL] * len(texts) if types is None else np.asarray(types).tolist()
    if len(types) != len(texts):
        raise ValueError(f"tokenizer.ggml.token_type: {len(types)} types of {len(texts)} tokens")
    if len(set(texts)) < len(texts):
        raise ValueError("tokenizer.ggml.tokens: a token is there twice")
    vocab, special = {}, {}
    for id, (text, type) in enumerate(zip(texts, types)):
        if type in GGUF_SPECIAL:
            special[text] = id
        elif type in (GGUF_NORMAL, GGUF_UNUSED):
            vocab[unshow(text) if type == GGUF_NORMAL else text.encode("utf-8")] = id
        else:
            raise ValueError(f"tokenizer.ggml.token_type: {type!r} of token {id} is not supported")
    return vocab, special


def _places(path):
    """The paths of a tokenizer's file and of the file beside it that says how it is used."""
    path = Path(path)
    if path.is_dir() or path.suffix != ".json":
        path = path / "tokenizer.json"
    return path, path.with_name(f"{path.stem}_config.json")


def _json(path):
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not a JSON file: {error}") from error
    if not isinstance(contents, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return contents


def _get(contents, key, kind, *default):
    """A value that must be of a type, or missing or null where there is a default."""
    value = contents.get(key)
    if value is None and default:
        return default[0]
    if not isinstance(value, kind):
        wrong = "is missing" if key not in contents else f"must be a {kind.__name__}: {value!r:.60}"
        raise ValueError(f"{key} {wrong}")
    return value


def _strings(metadata, key):
    if key not in metadata:
        raise ValueError(f"{key} is missing")
    texts = list(metadata[key])
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{key}: entry {i} must be a str, got {text!r:.60}")
    return texts


def _added(tokens):
    """Text to id of the tokens that Hugging Face calls added: found in the text before the rest."""
    special = {}
    for token in tokens:
        if not isinstance(token, dict):
            raise ValueError(f"added_tokens: expected objects, got {token!r:.60}")
        text = _get(token, "content", str)
        for flag in ADDED_FLAGS:
            if token.get(flag):
                raise ValueError(f"added token {text!r}: {flag} is not supported")
        if text in special:
            raise ValueError(f"added token {text!r} is there twice")
        special[text] = _get(token, "id", int)
    return special


def _pattern(steps):
    """The name of a pre-tokenizer that Hugging Face spells out."""
    given = steps.get("pretokenizers") if steps.get("type") == "Sequence" else [steps]
    for name, known in STEPS.items():
        if isinstance(given, list) and len(given) == len(known) and all(map(_same, given, known)):
            return name
    raise ValueError(f"pre_tokenizer {json.dumps(steps):.300} is not one of {list(STEPS)}")


def _same(step, known):
    if not isinstance(step, dict):
        return False
    defaults = {"use_regex": True} if step.get("type") == "ByteLevel" else {}
    return {**defaults, **step, "trim_offsets": None} == {**known, "trim_offsets": None}


def _pair(merge):
    """(left, right) of a merge, which a file spells ``"l r"`` or ``["l", "r"]``."""
    pair = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(t, str) for t in pair):
        raise ValueError(f"merge {merge!r:.60} is not two tokens")
    return unshow(pair[0]), unshow(pair[1])


def _id(name, ids, what):
    if name is not None and name not in ids:
        raise ValueError(f"{what} {name!r} is no token")
    return ids.get(name)


def _roles(config, ids):
    """bos, eos and chat_template from the file beside a tokenizer's own."""
    spelled = {}
    for name in ("bos_token", "eos_token"):
        value = config.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if text is not None:
            spelled[name] = _get({name: text}, name, str)
    template = config.get("chat_template")
    if isinstance(template, list):  # several of them, by name
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    return dict(
        bos=_id(spelled.get("bos_token"), ids, "bos_token"),
        eos=_id(spelled.get("eos_token"), ids, "eos_token"),
        chat_template=None if template is None else ChatTemplate(template, **spelled),
    )
