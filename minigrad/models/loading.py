"""Real models from files: Hugging Face's folders, GGUF files, and a few known by name."""

import contextlib
import re
from pathlib import Path

import numpy as np

from minigrad import backend
from minigrad.models import configs, store
from minigrad.models.folder import Folder
from minigrad.models.gguf import GGUF

LISTED = 6  # names in an error before it says how many more
MANY = 2e9  # bytes of parameters that take more than a second or two to read


def load(path_or_name, dtype="float32", tokenizer=True):
    """A pretrained model, ready to be used: ``model(ids)`` gives logits, ``model.tokenizer`` ids.

    Args:
        path_or_name: a Hugging Face folder (config.json, model.safetensors or its shards,
            tokenizer.json), a GGUF file, or a name such as "smollm2-135m-instruct", which is
            downloaded the first time, as ``minigrad download`` does.
        dtype: of the parameters: "float32", "float16", "bfloat16" or "float64".
        tokenizer: False to leave the tokenizer out; ``model.tokenizer`` is None then, and in a
            folder without tokenizer.json.

    Returns a Llama (of the kinds llama, mistral and qwen2) or a GPT (gpt2), in evaluation mode.
    Weights are read, and dequantized if need be, straight into the parameters.

    Raises FileNotFoundError for what is not there; store.DownloadError when the network is not;
    ValueError, which names the file and the place in it, for a file that is damaged, of another
    architecture, or at odds with its own config; TypeError for a dtype without derivatives.
    """
    dtype = backend.as_dtype(dtype)
    if not backend.is_floating(dtype):
        raise TypeError(f"models.load: expected a float dtype, got {dtype}")
    source = _open(path_or_name)
    describe = configs.of_gguf if isinstance(source, GGUF) else configs.of_folder
    plan = describe(source)
    _check_layers(source, plan)
    model = plan.build()
    places = {name: plan.layout.place(name) for name, _ in model.named_parameters()}
    _check_tensors(source, plan, model, places)
    with _progress(model, dtype) as advance:
        for name, parameter in model.named_parameters():
            values = np.empty(parameter.shape, dtype)
            source.read_into(values, places[name])
            parameter.data = values
            parameter.requires_grad_()
            advance(values.nbytes)
    model.tokenizer = _tokenizer(source, model) if tokenizer else None
    return model


def _open(path_or_name):
    path = Path(path_or_name)
    if str(path_or_name) in store.MODELS and not path.exists():
        path = store.fetch(str(path_or_name))
    if path.is_dir():
        return Folder(path)
    if path.suffix == ".safetensors":
        raise ValueError(
            f"{path}: weights without their config; load the folder that holds both, or a "
            "checkpoint of `minigrad train` with training.load_model"
        )
    if path.exists():
        return GGUF(path)
    raise FileNotFoundError(
        f"models.load: {str(path_or_name)!r} is no folder, no file, and none of the models known "
        f"by name: {', '.join(store.MODELS)}"
    )


def _check_layers(source, plan):
    """A config may claim any number of blocks: raise ValueError before they are made."""
    before, _, _ = plan.layout.place("blocks.0.norm_1.weight").tensor.partition("0")
    pattern = re.compile(re.escape(before) + r"(\d{1,9})\.")
    found = {match[1] for match in map(pattern.match, source.tensors) if match}
    if len(found) != plan.config.n_layers:
        raise ValueError(
            f"{source.path}: its config has {plan.config.n_layers:,} layers, its tensors have "
            f"{len(found):,}"
        )


def _check_tensors(source, plan, model, places):
    """Raise ValueError that lists every tensor that is missing, too many, or does not fit."""
    expected = {
        places[name].tensor: places[name].file_shape(parameter.shape)
        for name, parameter in model.named_parameters()
    }
    spare = re.compile(plan.layout.ignored)
    tied = plan.layout.place("head.weight").tensor if plan.config.tie_weights else None
    problems = _listed("missing", [name for name in expected if name not in source.tensors])
    problems += _listed(
        "unexpected",
        [
            name
            for name in source.tensors
            if name not in expected and name != tied and not spare.search(name)
        ],
    )
    misfits = []
    for name, shape in expected.items():
        info = source.tensors.get(name)
        if info is not None and info.shape != shape:
            misfits.append(f"{name} has shape {info.shape} at byte {info.offset:,}, not {shape}")
        elif info is not None and not info.kind.readable:
            misfits.append(f"{name} is stored as {info.kind.name}, which is not read here")
    problems += [f"tensor {misfit}" for misfit in misfits[:LISTED]]
    if len(misfits) > LISTED:
        problems.append(f"and {len(misfits) - LISTED} more that do not fit")
    if problems:
        title = (
            f"{source.path}: the tensors are not those of the {plan.model.__name__} it describes"
        )
        raise ValueError("\n  ".join([title, *problems]))


def _listed(what, names):
    if not names:
        return []
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return [f"{what}: {', '.join(names[:LISTED])}{more}"]


@contextlib.contextmanager
def _progress(model, dtype):
    """A function to call with each number of bytes read; it draws a bar when there are many."""
    total = model.num_parameters * dtype.itemsize
    if total < MANY:
        yield lambda count: None
        return
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:
        yield lambda count: None
        return
    with tqdm(total=total, unit="B", unit_scale=True, desc="load", delay=2, leave=False) as bar:
        yield bar.update


def _tokenizer(source, model):
    from minigrad.text import BPE

    try:
        if isinstance(source, GGUF):
            found = BPE.from_gguf(source.metadata)
        elif (source.path / "tokenizer.json").exists():
            found = BPE.load(source.path / "tokenizer.json")
        else:
            return None
    except ValueError as error:
        where = "" if str(source.path) in str(error) else f"{source.path}: "
        raise ValueError(
            f"{where}{error} (load(…, tokenizer=False) reads the weights alone)"
        ) from error
    if found.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"{source.path}: its tokenizer has {found.vocab_size:,} tokens, the model only "
            f"{model.config.vocab_size:,}"
        )
    return found
