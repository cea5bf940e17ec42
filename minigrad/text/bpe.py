"""Byte-level byte-pair encoding: the tokenizer of GPT-2, SmolLM and most of their kin.

Text is bytes, and every byte is a token, so that no text is unknown. To make sequences shorter,
training joins the pair of neighbours that occurs most often into one new token, then the next most
frequent pair, and so on; encoding replays the same merges in the same order.
"""

import re
import warnings
from collections import Counter
from contextlib import nullcontext, suppress
from itertools import chain, zip_longest

import numpy as np

from minigrad.text import bpe_files
from minigrad.text.merges import apply_merges, learn_merges
from minigrad.text.pretokenize import PATTERNS, pretokenize
from minigrad.text.vocabulary import checked_tokens, ranked_merges, without_special

CACHED_WORDS = 200_000


class BPE:
    """Text to token ids and back by byte-pair encoding.

    Args:
        vocab: the bytes of each ordinary token to its id, or a list of them, which counts the ids.
        merges: pairs ``(left, right)`` of tokens, as bytes, in the order of training.
        pattern: the pre-tokenizer, ``"gpt2"`` or ``"smollm"``; no token crosses its pieces.
        special: the text of each special token to its id. They mark what is no text, such as
            the end of a document, and are found before anything else.
        bos, eos: ids of the tokens that begin and end a sequence, or None.
        unknown: id of the token that stands for a byte without a token of its own, or None:
            then such bytes are left out.
        chat_template: a :class:`~minigrad.text.ChatTemplate`, or None.

    Raises ValueError for tokens or ids given twice, ids outside 0 … 2³¹ − 1, an unknown pattern,
    and merges that do not fit the vocabulary; TypeError for tokens or ids of another type.

    Source: Sennrich et al. 2016 (byte-pair encoding); Radford et al. 2019 (of bytes).

    >>> tokenizer = BPE.train("low lower lowest, slow slower slowest", vocab_size=260)
    >>> tokenizer.merges
    [(b'l', b'o'), (b'lo', b'w'), (b'low', b'e'), (b' ', b's')]
    >>> ids = tokenizer.encode("slower")
    >>> [tokenizer.decode_bytes([id]) for id in ids], tokenizer.decode(ids)
    ([b's', b'lowe', b'r'], 'slower')
    """

    def __init__(
        self,
        vocab,
        merges,
        pattern="gpt2",
        special=None,
        *,
        bos=None,
        eos=None,
        unknown=None,
        chat_template=None,
    ):
        if pattern not in PATTERNS:
            raise ValueError(f"BPE: unknown pattern {pattern!r}: known are {', '.join(PATTERNS)}")
        self.pattern = pattern
        self.special = checked_tokens(special or {}, str)
        self.vocab = without_special(self.special, checked_tokens(vocab, bytes))
        if not self.vocab:
            raise ValueError("BPE: the vocabulary holds no token, or special ones only")
        self.merges = [tuple(pair) for pair in merges]
        self._ranks, self._merged = ranked_merges(self.merges, self.vocab)
        self._byte_ids = [self.vocab.get(bytes([byte])) for byte in range(256)]
        self._tokens = {id: token for token, id in self.vocab.items()}
        self._tokens |= {id: text.encode("utf-8") for text, id in self.special.items()}
        self.vocab_size = max(self._tokens) + 1
        self.bos, self.eos, self.unknown = bos, eos, unknown
        for name, id in (("bos", bos), ("eos", eos), ("unknown", unknown)):
            if id is not None and id not in self._tokens:
                raise ValueError(f"BPE: {name}={id!r} is not the id of a token")
        self.chat_template = chat_template
        # The longest first: of two that begin alike, the longer one is meant.
        texts = sorted(self.special, key=len, reverse=True)
        self._special_texts = re.compile(f"({'|'.join(map(re.escape, texts))})")
        self._cache = {}

    @classmethod
    def train(cls, text, vocab_size, pattern="gpt2", special=(), progress=False):
        """The tokenizer whose merges, each the best at its time, shorten a text most.

        The ids are those of the special tokens, then of the 256 bytes (in GPT-2's order, the
        printable ones first), then of the merges. Each merge joins the pair with the highest
        count; among equals the one with the lowest left id, then the lowest right id. Pairs that
        overlap, as the two in ``aaa``, count each.

        Args:
            text: a str.
            vocab_size: how many tokens to end with, V.
            pattern: the pre-tokenizer, ``"gpt2"`` or ``"smollm"``.
            special: texts of special tokens; where they occur in ``text`` they are skipped.
            progress: whether to show a progress bar (needs tqdm).

        Raises ValueError when ``vocab_size`` leaves no room for bytes and special tokens, or when
        the text has no pair left to join before it is reached.
        """
        start = cls.untrained(pattern, special)
        missing = vocab_size - start.vocab_size
        if missing < 0:
            raise ValueError(
                f"BPE.train: vocab_size must be at least {start.vocab_size}, for 256 bytes and "
                f"{len(start.special)} special tokens; got {vocab_size}"
            )
        words = Counter()
        for part in start._split(text, special=True)[::2]:
            words.update(pretokenize(part, pattern))
        with _bar(missing, progress) as bar:
            vocab, merges = learn_merges(words, start.vocab, missing, tick=bar.update)
        found = len(vocab) + len(start.special)
        if found < vocab_size:
            raise ValueError(
                f"BPE.train: every word of the text is one token once there are {found} of them; "
                f"it takes more text to learn {vocab_size}"
            )
        return cls(vocab, merges, pattern, start.special)

    @classmethod
    def untrained(cls, pattern="gpt2", special=()):
        """The tokenizer before training: special tokens and the 256 bytes, no merges."""
        special = checked_tokens(special, str)
        vocab = {bytes([byte]): len(special) + i for i, byte in enumerate(bpe_files.BYTES)}
        return cls(vocab, [], pattern, special)

    def encode(self, text, special=True):
        """Token ids of a text: int64 (L,).

        No token is put before or after it. A byte without a token becomes ``unknown``; without
        that it is left out, as the package ``tokenizers`` does, and a warning says so.

        Args:
            text: a str.
            special: whether the text of a special token becomes that token. Choose False for text
                from strangers, who must not end the conversation: then it is text like any other.

        Raises TypeError when ``text`` is no str, ValueError when it holds half a surrogate pair.
        """
        parts = self._split(text, special)
        ids = []
        for plain, name in zip_longest(parts[::2], parts[1::2]):
            words = pretokenize(plain, self.pattern)
            self._remember(words)
            ids.extend(chain.from_iterable(map(self._cache.__getitem__, words)))
            if name is not None:
                ids.append(self.special[name])
        return np.array(ids, dtype=np.int64)

    def decode(self, ids, special=True):
        """The text of token ids (L,); bytes that are not UTF-8 become U+FFFD.

        A character may be spread over several tokens. To show tokens as they come, give their
        bytes to an incremental decoder: ``codecs.getincrementaldecoder("utf-8")("replace")``.

        Args:
            ids: an array or list of integers.
            special: whether special tokens stand in the text.

        Raises as :meth:`decode_bytes` does.
        """
        return self.decode_bytes(ids, special).decode("utf-8", errors="replace")

    def decode_bytes(self, ids, special=True):
        """The bytes of token ids (L,); arguments as for :meth:`decode`.

        Raises TypeError for ids that are not integers, ValueError for another shape,
        IndexError for an id that is no token's, with its place.
        """
        ids = np.asarray(ids)
        if ids.size == 0:
            return b""
        if ids.dtype.kind not in "iu":
            raise TypeError(f"BPE.decode: ids must be integers, got dtype {ids.dtype}")
        if ids.ndim != 1:
            raise ValueError(f"BPE.decode: expected ids of shape (L,), got {ids.shape}")
        left_out = () if special else set(self.special.values())
        try:
            return b"".join([self._tokens[id] for id in ids.tolist() if id not in left_out])
        except KeyError as error:
            id = error.args[0]
            raise IndexError(
                f"BPE.decode: id {id} at position {ids.tolist().index(id)} is not the id of a "
                f"token; they lie in 0 … {self.vocab_size - 1}"
            ) from None

    def save(self, path):
        """Write the tokenizer as Hugging Face does, whose packages read it too.

        Args:
            path: a folder, made if need be, for ``tokenizer.json`` and, with the names of ``bos``
                and ``eos`` and the chat template, ``tokenizer_config.json``. Or a path that ends in
                ``.json``: then those are ``name.json`` and ``name_config.json``.

        Each file is replaced in one step. Raises ValueError for a special token whose text reads
        like an ordinary token in such a file.
        """
        bpe_files.write(self, path)

    @classmethod
    def load(cls, path):
        """The tokenizer in a folder, or of a path that ends in ``.json``.

        It may come from :meth:`save` or from Hugging Face, if it is byte-level BPE with the
        pre-tokenizer of GPT-2 or SmolLM. Read are ``tokenizer.json`` and, if they are there,
        ``tokenizer_config.json`` (``bos_token``, ``eos_token``, ``chat_template``) and
        ``chat_template.jinja``.

        Raises FileNotFoundError; ValueError for a damaged file, and for one that asks for anything
        that would lead to other ids here.
        """
        try:
            return cls(**bpe_files.read(path))
        except (TypeError, ValueError) as error:
            raise ValueError(f"BPE.load: {path}: {error}") from error

    @classmethod
    def from_gguf(cls, metadata):
        """The tokenizer in the metadata of a GGUF file.

        Args:
            metadata: dict of the file's keys; those that begin with ``tokenizer.`` are read.

        Raises ValueError for a tokenizer that is missing, damaged, or of another kind.
        """
        try:
            return cls(**bpe_files.from_gguf(metadata))
        except (TypeError, ValueError) as error:
            raise ValueError(f"BPE.from_gguf: {error}") from error

    def __repr__(self):
        return (
            f"BPE({self.vocab_size} tokens, {len(self.merges)} merges, pattern={self.pattern!r}, "
            f"{len(self.special)} special)"
        )

    def _split(self, text, special):
        """Text, special token, text, special token, …, text."""
        if not isinstance(text, str):
            raise TypeError(f"BPE: expected a str, got {type(text).__name__}")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"BPE: character {text[error.start]!r} at position {error.start} is half of a "
                "surrogate pair, which UTF-8 cannot write"
            ) from None
        return self._special_texts.split(text) if special and self.special else [text]

    def _remember(self, words):
        """Encode each different word once: the common ones come again and again."""
        if len(self._cache) > CACHED_WORDS:
            self._cache.clear()
        for word in set(words).difference(self._cache):
            ids = [self._byte_ids[byte] for byte in word.encode("utf-8")]
            if None in ids:
                ids = self._with_unknown(word, ids)
            self._cache[word] = apply_merges(ids, self._ranks, self._merged)

    def _with_unknown(self, word, ids):
        if self.unknown is not None:
            return [self.unknown if id is None else id for id in ids]
        lost = sorted({byte for byte, id in zip(word.encode("utf-8"), ids) if id is None})
        names = ", ".join(f"0x{byte:02x}" for byte in lost)
        warnings.warn(f"BPE.encode: no token holds {names}: left out", stacklevel=4)
        return [id for id in ids if id is not None]


def _bar(total, wanted):
    """A tqdm bar, or where none is wanted or installed something that takes its updates too."""
    if wanted:
        with suppress(ImportError):
            from tqdm.auto import tqdm

            return tqdm(total=total, unit="merge")
    return nullcontext(Counter())
