"""Remake language_models.json: logits, rounding errors and greedy tokens of Hugging Face's
transformers, for test_llama.py.

Run ``python tests/golden/make_language_models.py`` from the repository's root with the packages
``torch`` and ``transformers`` (2.13.0 and 5.23.0 made the file) and SmolLM2 downloaded. It takes
about five minutes of two cores.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import minigrad as mg

sys.path.insert(0, str(Path(__file__).parents[1]))
import language_models

NEW_TOKENS = 128
NEAR = 1e-3  # a gap between two logits that rounding might close: ten times what it is seen to do


def pair(model):
    """The same model in transformers, in float32 and in float64."""
    with tempfile.TemporaryDirectory() as folder:
        return [language_models.theirs(model, folder, dtype) for dtype in ("float32", "float64")]


def compared(single, double, ids):
    """Their float32 error, the largest difference from float64, and float64 logits of some tokens
    at some positions."""
    exact = language_models.their_logits(double, ids)
    error = float(np.abs(language_models.their_logits(single, ids) - exact).max())
    rng = np.random.default_rng(ids.size)
    positions = np.unique([0, ids.shape[1] // 2, ids.shape[1] - 1])
    tokens = np.sort(rng.choice(exact.shape[-1], 12, replace=False))
    some = exact[:, positions][..., tokens]
    return {
        "error": error,
        "positions": positions.tolist(),
        "tokens": tokens.tolist(),
        "logits": some.tolist(),
    }


@torch.no_grad()
def greedy(model, ids):
    """The tokens of greedy decoding, and {step: [second choice, gap]} where it was close."""
    tokens, close, new, cache = [], {}, torch.tensor(ids[None]), None
    for step in range(NEW_TOKENS):
        out = model(new, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        values, best = out.logits[0, -1].topk(2)
        gap = float(values[0] - values[1])
        if gap < NEAR:
            close[step] = [int(best[1]), gap]
        tokens.append(int(best[0]))
        new = best[None, :1]
    return tokens, close


def of_drawn():
    """{name: what ``compared`` gives} of all randomly drawn models."""
    golden = {}
    for name, config in language_models.CONFIGS.items():
        model = language_models.draw(config)
        golden[name] = compared(*pair(model), language_models.ids_of(config))
    return golden


def of_smollm2():
    """For each prompt its ids, what ``compared`` gives, and the greedy continuation."""
    model = mg.models.load(language_models.NAME)
    single, double = pair(model)
    golden = []
    for ids in language_models.prompts(model.tokenizer):
        tokens, close = greedy(single, ids)
        golden.append({"ids": ids.tolist(), **compared(single, double, ids[None])})
        golden[-1] |= {"greedy": tokens, "close": close}
        print(len(ids), golden[-1]["error"], close)
    return golden


def main():
    """Write the golden file, one line for each model and prompt."""
    drawn, smollm2 = of_drawn(), of_smollm2()
    lines = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in drawn.items()]
    rows = [json.dumps(each) for each in smollm2]
    text = (
        '{"drawn": {\n' + ",\n".join(lines) + '\n},\n"smollm2": [\n' + ",\n".join(rows) + "\n]}\n"
    )
    Path(__file__).with_name("language_models.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
