"""Pre-tokenizers: text cut into pieces that no token will ever cross.

Byte-pair encoding alone would glue ``dog`` and the full stop after it into one token because they
often meet. A pattern keeps words, numbers, punctuation and white space apart beforehand.

The patterns use Unicode's classes ``\\p{L}`` (letters) and ``\\p{N}`` (digits and other numerals),
which Python's ``re`` lacks and the package ``regex`` has. Which characters those are depends on the
version of Unicode it was built with: a letter that Unicode added last year is one in the newest
release only.
"""

import functools

# GPT-2's pattern (Radford et al. 2019, github.com/openai/gpt-2, src/encoder.py), tried in order:
# the end of a contraction; a space, perhaps, with letters, numerals, or neither; white space, its
# last space left over for the word that follows; white space at the end.
GPT2 = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SINGLE_DIGITS = r"\p{N}|\P{N}+"

# Each pattern is applied to the pieces that the one before it leaves. SmolLM's numerals stand
# alone, and so a space before one does too.
PATTERNS = {
    "gpt2": (GPT2,),
    "smollm": (SINGLE_DIGITS, GPT2),
}


def pretokenize(text, pattern="gpt2"):
    """The pieces of a text, in order; joined they are the text again.

    Args:
        text: a str.
        pattern: ``"gpt2"`` or ``"smollm"``.

    Raises ValueError for an unknown pattern, TypeError when ``text`` is no str, ImportError
    without the package ``regex``.

    >>> pretokenize("In 1984, don't  panic!")
    ['In', ' 1984', ',', ' don', "'t", ' ', ' panic', '!']
    >>> pretokenize("In 1984", "smollm")
    ['In', ' ', '1', '9', '8', '4']
    """
    if not isinstance(text, str):
        raise TypeError(f"pretokenize: expected a str, got {type(text).__name__}")
    pieces = [text]
    for find_all in _finders(pattern):
        pieces = [part for piece in pieces for part in find_all(piece)]
    return pieces


@functools.cache
def _finders(pattern):
    if pattern not in PATTERNS:
        known = ", ".join(map(repr, PATTERNS))
        raise ValueError(f"unknown pre-tokenizer {pattern!r}: known are {known}")
    try:
        import regex
    except ImportError as error:
        raise ImportError("pre-tokenizers need the package regex: pip install regex") from error
    return [regex.compile(expression).findall for expression in PATTERNS[pattern]]
