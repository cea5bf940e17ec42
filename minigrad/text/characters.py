"""The simplest tokenizer: one token for each different character."""

import json
from pathlib import Path

import numpy as np

from minigrad.files import replacing

FORMAT = "minigrad character tokenizer 1"


class CharTokenizer:
    """Characters to token ids and back; the ids count the characters in the order given.

    Args:
        characters: a string (or list of single characters) without repetition.
        unknown: the one of them that every other character is read as; None to refuse others.

    Raises ValueError for repeated characters, for items that are not one character, or for none,
    and for an ``unknown`` that is not among them. There are no special tokens: ``bos``, ``eos`` and
    ``chat_template``, which a BPE may have, are None.

    >>> tokenizer = CharTokenizer.from_text("to be or not to be")
    >>> tokenizer.vocab_size, tokenizer.encode("not")
    (7, array([3, 4, 6]))
    >>> tokenizer.decode([6, 4])
    'to'
    """

    bos = eos = chat_template = None

    def __init__(self, characters, unknown=None):
        self.characters, self.unknown = tuple(characters), unknown
        if not self.characters:
            raise ValueError("CharTokenizer: needs at least one character")
        for index, character in enumerate(self.characters):
            if not isinstance(character, str) or len(character) != 1:
                raise ValueError(
                    f"CharTokenizer: entry {index} must be one character, got {character!r}"
                )
        if len(set(self.characters)) < len(self.characters):
            repeated = sorted({c for c in self.characters if self.characters.count(c) > 1})
            raise ValueError(f"CharTokenizer: characters given more than once: {repeated}")
        if unknown is not None and unknown not in self.characters:
            raise ValueError(f"CharTokenizer: unknown={unknown!r} is not among the characters")
        self._characters = np.array([ord(c) for c in self.characters], dtype=np.uint32)
        self._ids = np.full(int(self._characters.max()) + 2, -1, dtype=np.int64)
        self._ids[self._characters] = np.arange(self.vocab_size)

    @classmethod
    def from_text(cls, text):
        """The tokenizer of all characters that occur in ``text``, sorted."""
        return cls(sorted(set(text)))

    @property
    def vocab_size(self):
        """How many different tokens there are, V."""
        return len(self.characters)

    def encode(self, text, special=True):
        """Token ids of a text: int64 (len(text),). ``special`` changes nothing here.

        Raises ValueError naming the first character that is not in the vocabulary, and its place,
        unless one stands for the unknown.
        """
        if not isinstance(text, str):
            raise TypeError(f"CharTokenizer.encode: expected a str, got {type(text).__name__}")
        code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        # Everything beyond the table falls on its last entry, which holds no character.
        ids = self._ids[np.minimum(code_points, len(self._ids) - 1)]
        if ids.size and ids.min() < 0 and self.unknown is not None:
            return np.where(ids < 0, self.characters.index(self.unknown), ids)
        if ids.size and ids.min() < 0:
            position = int(np.argmax(ids < 0))
            raise ValueError(
                f"CharTokenizer.encode: character {text[position]!r} at position {position} "
                f"is not among the {self.vocab_size} known ones: {self._shown()}"
            )
        return ids

    def decode(self, ids, special=True):
        """The text of token ids (L,), given as an array or a list of integers. ``special`` changes
        nothing here.

        Raises TypeError for ids that are not integers, ValueError for another shape,
        IndexError for an id outside 0 … vocab_size − 1, with its place.
        """
        ids = np.asarray(ids)
        if ids.size == 0:
            return ""
        if ids.dtype.kind not in "iu":
            raise TypeError(f"CharTokenizer.decode: ids must be integers, got dtype {ids.dtype}")
        if ids.ndim != 1:
            raise ValueError(f"CharTokenizer.decode: expected ids of shape (L,), got {ids.shape}")
        outside = (ids < 0) | (ids >= self.vocab_size)
        if outside.any():
            position = int(np.argmax(outside))
            raise IndexError(
                f"CharTokenizer.decode: id {ids[position]} at position {position} is outside "
                f"0 … {self.vocab_size - 1}"
            )
        return self._characters[ids].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")

    def save(self, path):
        """Write the vocabulary to a JSON file; a file already there is replaced in one step."""
        contents = {"format": FORMAT, "characters": list(self.characters)}
        contents |= {} if self.unknown is None else {"unknown": self.unknown}
        with replacing(path, "w", encoding="utf-8") as file:
            json.dump(contents, file)

    @classmethod
    def load(cls, path):
        """The tokenizer written by :meth:`save`.

        Raises FileNotFoundError, or ValueError for a file that is not such a tokenizer.
        """
        try:
            contents = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"CharTokenizer.load: {path} is not a JSON file: {error}") from error
        if not isinstance(contents, dict) or contents.get("format") != FORMAT:
            raise ValueError(f"CharTokenizer.load: {path} is not a {FORMAT!r} file")
        try:
            return cls(contents.get("characters", ()), contents.get("unknown"))
        except (TypeError, ValueError) as error:
            raise ValueError(f"CharTokenizer.load: {path} is damaged: {error}") from error

    def __repr__(self):
        return f"CharTokenizer({self._shown()})"

    def _shown(self):
        known = "".join(self.characters)
        return repr(known if len(known) <= 100 else known[:100] + "…")
