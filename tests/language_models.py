"""Language models that several tests and the scripts of golden files share."""

from functools import partial

import numpy as np
import pytest

from minigrad.models import GPT, GPTConfig, Llama, LlamaConfig, save, store

NAME = "smollm2-135m-instruct"
needs_smollm2 = pytest.mark.skipif(
    store.cached(NAME) is None, reason=f"needs `minigrad download {NAME}`"
)

# The beginning of a script that watches its own memory until `done`: then peak - start is how many
# bytes it took at the most.
WATCH_MEMORY = """
import sys, threading, time
import minigrad as mg

def held():  # bytes of memory of our own; mapped files do not count
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024

def watch():
    global peak
    while not done:
        peak = max(peak, held())
        time.sleep(0.001)

mg.models
start = peak = held()
done = False
watcher = threading.Thread(target=watch)
watcher.start()
"""

SIZES = dict(vocab_size=211, context_length=96, d_model=48, n_layers=3, d_hidden=80)
GPT_SIZES = dict(vocab_size=211, context_length=96, d_model=48, n_layers=3, bias=True)
# What Hugging Face's Llama, Qwen2 and GPT-2 are too.
CONFIGS = {
    "llama": LlamaConfig(**SIZES, n_heads=6),
    "llama, tied, GQA 3": LlamaConfig(**SIZES, n_heads=6, n_kv_heads=2, tie_weights=True),
    "llama, GQA 8": LlamaConfig(**SIZES, n_heads=16, n_kv_heads=2, d_head=6, rope_base=500.0),
    "llama, MQA, biases": LlamaConfig(
        **SIZES, n_heads=8, n_kv_heads=1, qkv_bias=True, output_bias=True, mlp_bias=True
    ),
    "qwen2": LlamaConfig(**SIZES, n_heads=6, n_kv_heads=2, qkv_bias=True, norm_eps=1e-6),
    "qwen2, tied, MQA": LlamaConfig(
        **SIZES, n_heads=4, n_kv_heads=1, qkv_bias=True, tie_weights=True, rope_base=1e6
    ),
    "gpt-2": GPTConfig(**GPT_SIZES, n_heads=4, tie_weights=True, activation="gelu_tanh"),
    "gpt-2, untied": GPTConfig(**GPT_SIZES, n_heads=6),
}
# What none of theirs is.
LATENT = LlamaConfig(**SIZES, n_heads=6, d_latent=32, d_rope=4)

# Prompts for SmolLM2, and how many tokens of a text that is repeated, or of Shakespeare from one
# character on.
PROMPTS = [
    "The capital of France is",
    "Once upon a time",
    "I have a dream",
    "\n",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "1, 1, 2, 3, 5, 8, 13, 21, 34,",
    "Water boils at 100 degrees Celsius, which is 212 degrees",
    "<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWhat is 7 times 8?<|im_end|>\n<|im_start|>assistant\n",
    "Liebe Grüße aus Köln! 你好,世界 🙂👍🏽 Привет",
    "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind",
]
REPEATED = {"The quick brown fox jumps over the lazy dog. ": 50, "x = np.arange(10)\n": 60}
SHAKESPEARE = {0: 80, 40_000: 100, 90_001: 128, 200_003: 200, 500_000: 300, 700_000: 512}
SHAKESPEARE[1_000_000] = 1000


def draw(config, dtype="float32"):
    """A model in evaluation mode whose parameters, biases and gains too, all matter."""
    model = (Llama if isinstance(config, LlamaConfig) else GPT)(config, seed=0)
    for i, parameter in enumerate(model.parameters()):
        noise = np.random.default_rng(i).normal(size=parameter.shape) * 0.15
        parameter.data[...] += noise.astype(np.float32)
    return model.astype(dtype).eval()


def ids_of(config, batch=3, length=None, seed=5):
    """Random ids (B, L), as long as the context unless a length is given."""
    length = config.context_length if length is None else length
    return np.random.default_rng(seed).integers(0, config.vocab_size, (batch, length))


def prompts(tokenizer):
    """The ids of the 20 prompts for SmolLM2, 1 to 1,000 tokens."""
    from minigrad import data

    shakespeare = data.shakespeare()
    cut = [(text * n, n) for text, n in REPEATED.items()]
    cut += [(shakespeare[first : first + 8 * n], n) for first, n in SHAKESPEARE.items()]
    return [tokenizer.encode(text) for text in PROMPTS] + [
        tokenizer.encode(text)[:n] for text, n in cut
    ]


def theirs(model, folder, dtype):
    """The same model in Hugging Face's transformers, by way of a folder; in float64, all of it is.

    They compute norms and angles in float32, whatever the dtype of a model.
    """
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    pytest.importorskip("safetensors")
    save(model, folder)
    peer = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    for module in peer.modules() if dtype == "float64" else ():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(_norm, module)
        elif type(module).__name__.endswith("RotaryEmbedding"):
            module.forward = partial(_cos_sin, module.config)
    return peer.eval()


def _norm(module, x):
    mean = (x * x).mean(-1, keepdim=True)
    return x / (mean + module.variance_epsilon).sqrt() * module.weight


def _cos_sin(config, x, position_ids):
    import torch

    H = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    exponents = torch.arange(0, H, 2, dtype=torch.float64) / H
    angles = position_ids[..., None] / config.rope_parameters["rope_theta"] ** exponents
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def their_logits(model, ids):
    """(B, L, V) of ids (B, L), computed by transformers."""
    import torch

    with torch.no_grad():
        return model(torch.tensor(ids)).logits.numpy()
