"""Remake bpe.json: merges and ids of Hugging Face's package, for test_bpe.py.

Run ``python tests/golden/make_bpe.py`` from the repository's root with the package ``tokenizers``
(0.23.3 made the file).
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

from minigrad import data

BYTE_LEVEL = ByteLevel(add_prefix_space=False)
PATTERNS = {
    "gpt2": BYTE_LEVEL,
    "smollm": Sequence([Digits(individual_digits=True), BYTE_LEVEL]),
}
VOCAB_SIZE = 500
SPECIAL = ["<|end|>", "<|end|>ing"]
# What each vocabulary is trained on, after the beginning of Shakespeare.
CODE = '''
def total(prices):
    """The sum of 1,024 prices, 3.50 each, with 19 % tax."""
    return sum(price * 1.19 for price in prices)  # in 2024: 1024 * 3.5
'''
SCRIPTS = (
    "Grüße, Ελλάδα! Привет, мир. 你好,世界。こんにちは 안녕 שלום مرحبا "
    "नमस्ते สวัสดี 🙂👍🏽👩‍👩‍👧🇫🇷 ½ Ⅷ x² é e\u0301 "
)
TEXTS = [
    "",
    " ",
    "To be, or not to be: that is the question.\n",
    "I'll say we've 2 or 3 o'clocks, they're his'n; DON'T. it's'",
    "  two  spaces,   three\n\n and \t tabs \r\n  ",
    "100 000,1984 x1y22z 3.14159 v2 ½ ²³ Ⅷ٣४",
    CODE,
    SCRIPTS,
    "snow\u2603\ufe0f man\u00a0no\u3000break\u2028line\x85next\x1cfile\x00",
    "the<|end|> end<|end|>ing <|end|><|end|>s<|end",
    "\ufffd\ufffd" + bytes(range(256)).decode("latin-1"),
]


def trained(pattern, text):
    """A tokenizer of the package, trained on a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = PATTERNS[pattern]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def main():
    """Train on both patterns and write merges, and ids of all texts."""
    text = data.shakespeare()[:50_000] + 5 * CODE + 5 * SCRIPTS
    golden = {"characters": 50_000, "appended": 5 * CODE + 5 * SCRIPTS, "special": SPECIAL}
    for pattern in PATTERNS:
        tokenizer = trained(pattern, text)
        golden[pattern] = {
            "merges": json.loads(tokenizer.to_str())["model"]["merges"],
            "ids": [[sample, tokenizer.encode(sample).ids] for sample in TEXTS],
        }
    path = Path(__file__).with_name("bpe.json")
    path.write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
