"""Remake decoding.json: beams and draws of SmolLM2 by Hugging Face's transformers, for
test_decoding.py.

Run ``python tests/golden/make_decoding.py`` from the repository's root with the packages ``torch``
and ``transformers`` (2.13.0 and 5.23.0 made the file) and SmolLM2 (``minigrad download``).
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers

from minigrad import models

NAME = "smollm2-135m-instruct"
PROMPTS = ["I have a dream", "The quick brown fox jumps over", "def fibonacci(n):\n"]
STOP = ["."]
BEAMS = [
    dict(num_beams=4, length_penalty=1.0, early_stopping=False, max_new_tokens=12),
    dict(num_beams=8, length_penalty=0.0, early_stopping=True, max_new_tokens=9),
    dict(num_beams=8, length_penalty=2.0, early_stopping="never", max_new_tokens=9),
]
SETTINGS = [
    dict(temperature=0.8, top_k=40),
    dict(temperature=0.9, top_p=0.8, repetition_penalty=1.3),
    dict(temperature=1.5, top_k=200, top_p=0.95, min_p=0.05),
]
NEW = 8
APART = 1e-5  # so far every draw is from another token's share


def beams(model, ids, stop, how):
    """The hypotheses, best first: [new tokens, score] each."""
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        num_return_sequences=how["num_beams"],
        eos_token_id=stop,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
        **how,
    )
    lengths = (out.beam_indices >= 0).sum(-1).tolist()
    new = out.sequences[:, ids.shape[1] :].tolist()
    return [
        [tokens[:n], round(float(score), 6)]
        for tokens, n, score in zip(new, lengths, out.sequences_scores)
    ]


def processors(temperature, top_k=None, top_p=None, min_p=None, repetition_penalty=None):
    """transformers' own, in its order."""
    given = [
        (transformers.RepetitionPenaltyLogitsProcessor, repetition_penalty),
        (transformers.TemperatureLogitsWarper, temperature),
        (transformers.TopKLogitsWarper, top_k),
        (transformers.TopPLogitsWarper, top_p),
        (transformers.MinPLogitsWarper, min_p),
    ]
    return transformers.LogitsProcessorList(kind(value) for kind, value in given if value)


def drawn(model, ids, settings, seed=0):
    """[seed, new tokens, what the first was drawn from: how many tokens, the ten likeliest, and
    their probabilities], with the first seed whose draws are clear."""
    filtered, rng = processors(**settings), np.random.default_rng(seed)
    text, first = ids, None
    for _ in range(NEW):
        shares = torch.softmax(filtered(text, model(text).logits[:, -1]), -1)[0].numpy()
        if first is None:
            likeliest = np.argsort(-shares)[:10]
            first = [int((shares > 0).sum()), likeliest.tolist(), shares[likeliest].tolist()]
        edges, draw = np.cumsum(shares), rng.random()
        if np.abs(edges - draw).min() < APART:
            return drawn(model, ids, settings, seed + 1)
        text = torch.cat([text, torch.tensor([[np.searchsorted(edges, draw, "right")]])], -1)
    return [seed, text[0, ids.shape[1] :].tolist(), first]


def main():
    ours = models.load(NAME)
    encode = ours.tokenizer.encode
    stop = [int(encode(text)[0]) for text in STOP]
    prompts = [encode(prompt)[None] for prompt in PROMPTS]
    golden = {"stop": stop, "prompts": [{"ids": ids[0].tolist()} for ids in prompts]}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        models.save(ours, folder)
        for dtype in (torch.float32, torch.float64):
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
            for ids, entry in zip(map(torch.tensor, prompts), golden["prompts"]):
                before = entry.get("beams")
                entry["beams"] = [[how, beams(model, ids, stop, how)] for how in BEAMS]
                if before and tokens_of(before) != tokens_of(entry["beams"]):
                    raise SystemExit(f"rounding decides beams of {ids.tolist()}: take others")
        for ids, entry in zip(map(torch.tensor, prompts), golden["prompts"]):
            entry["draws"] = [[how, *drawn(model, ids, how)] for how in SETTINGS]
    path = Path(__file__).with_name("decoding.json")
    path.write_text(json.dumps(golden) + "\n", encoding="utf-8")


def tokens_of(searches):
    return [[tokens for tokens, _ in found] for _, found in searches]


if __name__ == "__main__":
    main()
