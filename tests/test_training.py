"""Training: the loss it reaches, exact resume, and what a bad file says."""

import json
import math
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import minigrad as mg
from minigrad import data, inference, nn, optim, text, training
from minigrad.course.cli import main
from minigrad.models import GPT, GPTConfig, safetensors


def trainer(dropout=0.0, seed=0, steps=300, batch_size=32):
    mg.manual_seed(seed)
    works = data.shakespeare()[:200_000]
    tokenizer = text.CharTokenizer.from_text(works)
    ids = tokenizer.encode(works)
    config = GPTConfig(tokenizer.vocab_size, 16, 48, 3, n_layers=1, dropout=dropout)
    model = GPT(config, seed=seed)
    return training.Trainer(
        model,
        optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1),
        data.token_batches(ids[:180_000], batch_size, 16, seed=seed),
        schedule=optim.cosine(1e-2, steps, warmup=10),
        evaluate=lambda: training.held_out_loss(model, ids[180_000:], max_batches=5),
        notes={"characters": list(tokenizer.characters)},
    )


def test_300_steps_reach_the_stated_loss_and_the_same_seed_gives_it_again():
    first = trainer().run(300, progress=False)
    assert abs(first.losses[0] - math.log(first.model.config.vocab_size)) < 0.1
    assert np.mean(first.losses[-20:]) < 2.35
    assert first.evaluations[-1][0] == 300
    assert first.evaluations[-1][1] < 2.4
    second = trainer().run(40, progress=False)
    assert second.losses == first.losses[:40]


def test_resumed_training_is_the_uninterrupted_one_bit_by_bit(tmp_path):
    whole = trainer(dropout=0.1).run(30, progress=False)
    interrupted = trainer(dropout=0.1).run(17, progress=False)
    interrupted.save(tmp_path / "half.safetensors")
    resumed = trainer(dropout=0.1, seed=0)
    mg.manual_seed(999)
    next(resumed.batches)
    resumed.load(tmp_path / "half.safetensors").run(30, progress=False)
    assert resumed.losses == whole.losses
    assert resumed.evaluations[-1] == whole.evaluations[-1]
    for name, array in resumed.model.state_dict().items():
        np.testing.assert_array_equal(array, whole.model.state_dict()[name])


def test_evaluation_draws_no_random_numbers_and_keeps_the_mode():
    with_evaluation = trainer(dropout=0.2).run(6, eval_every=2, progress=False)
    without = trainer(dropout=0.2)
    without.evaluate = None
    assert without.run(6, progress=False).losses == with_evaluation.losses
    assert [step for step, _ in with_evaluation.evaluations] == [2, 4, 6]
    assert with_evaluation.model.training


def test_held_out_loss_is_the_mean_over_windows():
    model = GPT(GPTConfig(7, 4, 8, 2, 1), seed=0)
    ids = np.random.default_rng(0).integers(7, size=23)
    losses = []
    for start in (0, 4, 8, 12, 16):
        window = ids[start : start + 5]
        logits = model(window[None, :-1]).numpy()[0]
        chosen = logits[np.arange(4), window[1:]]
        losses.append(np.log(np.exp(logits).sum(1)) - chosen)
    result = training.held_out_loss(model, ids, batch_size=2)
    assert result == pytest.approx(np.mean(losses), rel=1e-5)
    with pytest.raises(ValueError, match="4 tokens are fewer than one window of 4"):
        training.held_out_loss(model, ids[:4])


def test_a_loss_that_is_not_finite_stops_before_the_parameters_change():
    run = trainer()
    run.model.head.weight.data[0, 0] = np.nan
    before = run.model.state_dict()["norm.weight"]
    with pytest.raises(FloatingPointError, match="step 0: the loss is nan at learning rate"):
        run.run(1, progress=False)
    np.testing.assert_array_equal(run.model.state_dict()["norm.weight"], before)


@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
def test_every_device_trains_saves_and_resumes_alike(device, norm, tmp_path):
    def made(where):
        model = GPT(GPTConfig(65, 8, 16, 2, 1, norm=norm, bias=True), seed=0).to(where)
        batches = data.token_batches(np.arange(500) * 7 % 65, 4, 8, seed=0)
        return training.Trainer(model, optim.AdamW(model.parameters(), lr=1e-2), batches)

    expected = made("cpu").run(8, progress=False)
    run = made(device).run(5, progress=False)
    assert run.model.head.weight.device == device
    run.save(tmp_path / "model.safetensors")
    resumed = made(device).load(tmp_path / "model.safetensors").run(8, progress=False)
    np.testing.assert_allclose(resumed.losses, expected.losses, rtol=1e-4)
    ids = np.arange(80) % 65
    here, there = (training.held_out_loss(t.model, ids) for t in (resumed, expected))
    assert here == pytest.approx(there, rel=1e-4)
    assert inference.sample(resumed.model, ids, 3, seed=0).shape == (83,)


def test_load_model_gives_back_the_model_and_the_notes(tmp_path):
    run = trainer().run(2, progress=False)
    run.save(tmp_path / "model.safetensors")
    model, notes = training.load_model(tmp_path / "model.safetensors")
    assert model.config == run.model.config
    assert not model.training
    assert notes == run.notes
    ids = np.array([[1, 2, 3]])
    np.testing.assert_array_equal(model(ids).numpy(), run.model(ids).numpy())


SAVE_FOREVER = """
import sys
import numpy as np
from minigrad.models import safetensors
print("ready", flush=True)
n = 0
while True:
    n += 1
    arrays = {"a": np.full(4_000_000, n, np.float32), "b": np.full(500_000, n, np.float32)}
    safetensors.save(sys.argv[1], arrays, {"n": str(n)})
    print(n, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_kill_in_mid_save_leaves_a_whole_checkpoint(tmp_path):
    path = tmp_path / "model.safetensors"
    for _ in range(20):
        writer = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, str(path)], stdout=subprocess.PIPE, text=True
        )
        while writer.stdout.readline().strip() != "2":
            assert writer.poll() is None
        while not [file for file in tmp_path.iterdir() if file != path]:
            assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        arrays, metadata = safetensors.load(path)
        assert (arrays["a"] == int(metadata["n"])).all()
        assert (arrays["b"] == int(metadata["n"])).all()
        if unfinished := [file for file in tmp_path.iterdir() if file != path]:
            break
    assert unfinished, "no kill hit a save in the middle"


def test_arrays_of_every_dtype_come_back(tmp_path):
    path = tmp_path / "x.safetensors"
    arrays = {
        "half": np.array([[1.5, -2.0]], np.float16),
        "brain": np.arange(3).astype(ml_dtypes.bfloat16),
        "double": np.array(3.5),
        "empty": np.zeros((0, 3), np.float32),
        "strided": np.arange(12, dtype=np.int64).reshape(3, 4)[::2, ::-1],
        "flags": np.array([True, False, True]),
    }
    safetensors.save(path, arrays, {"who": "me"})
    loaded, metadata = safetensors.load(path)
    assert metadata == {"who": "me"}
    assert list(loaded) == list(arrays)
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)
    with pytest.raises(TypeError, match="no dtype complex128, that of array z"):
        safetensors.save(path, {"z": np.ones(1, complex)})
    assert list(safetensors.load(path)[0]) == list(arrays)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "saved.safetensors"
    trainer().run(1, progress=False).save(path)
    return path


def damaged(path, change):
    content = bytearray(path.read_bytes())
    changed = change(content)
    path.write_bytes(content if changed is None else changed)


def flip_last(content):
    content[-5] ^= 16


def flip_checksum_name(content):
    at = content.index(b'"sha256"')
    content[at + 3] = ord("X")


def flip_header(content):
    at = content.index(b'"optimizer_steps')
    content[at + 3] = ord("X")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-100], "truncated: array .* the file holds"),
        (lambda content: content[:50], "truncated: 50 bytes, the header alone needs"),
        (lambda content: content + b"more", "the header speaks of"),
        (lambda content: b"short", "not a safetensors file"),
        (lambda content: b"PK\x03\x04" + bytes(200), "not a safetensors file"),
        (lambda content: content[:8] + b"{" + bytes(len(content) - 9), "its header is not JSON"),
        (flip_last, "damaged: its bytes do not match its checksum"),
        (flip_header, "damaged"),
        (flip_checksum_name, "it has no checksum"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(saved, change, message):
    damaged(saved, change)
    run = trainer()
    before = run.model.state_dict()
    with pytest.raises(ValueError, match=message) as caught:
        run.load(saved)
    assert str(saved) in str(caught.value)
    np.testing.assert_array_equal(run.model.state_dict()["head.weight"], before["head.weight"])


@pytest.mark.parametrize(
    "header",
    [
        {"__metadata__": None},
        {"__metadata__": {"minigrad": 3}},
        {"a": {"dtype": "F32", "shape": [-1, -4], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [4.0], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0.0, 16.0]}},
    ],
    ids=str,
)
def test_a_header_of_the_wrong_kinds_of_values_is_named_with_its_file(header, tmp_path):
    path = tmp_path / "strange.safetensors"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(16 * ("a" in header)))
    with pytest.raises(ValueError, match=r"strange\.safetensors: damaged"):
        safetensors.load(path)


def test_a_file_of_another_program_is_no_checkpoint(tmp_path):
    path = tmp_path / "foreign.safetensors"
    safetensors.save(path, {"w": np.ones(2)})
    with pytest.raises(ValueError, match="a safetensors file, but no minigrad checkpoint"):
        training.load_model(path)
    with pytest.raises(FileNotFoundError):
        training.load_model(tmp_path / "missing")


def test_a_checkpoint_of_another_setting_is_refused(saved):
    run = trainer()
    run.optimizer = optim.SGD(run.model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="its optimizer is AdamW, this one is SGD"):
        run.load(saved)
    with pytest.raises(ValueError, match="was taken with batch_size 32, this iterator has 4"):
        trainer(batch_size=4).load(saved)
    other = trainer()
    config = other.model.config
    for changes, message in (
        ({"vocab_size": 20}, f"its model has vocab_size {config.vocab_size}, this one has 20"),
        ({"n_heads": 4}, "its model has n_heads 3, this one has 4"),  # the same shapes
    ):
        other.model = GPT(replace(config, **changes), seed=0)
        with pytest.raises(ValueError, match=message):
            other.load(saved)


def test_sizes_and_losses_that_are_numpy_scalars_do_not_stop_a_save(tmp_path):
    run = trainer()
    config = GPTConfig(np.int64(run.model.config.vocab_size), 16, np.int32(48), 3, 1)
    run.model = GPT(config, seed=0)
    run.optimizer = optim.SGD(run.model.parameters(), lr=0.1)
    run.evaluate = lambda: np.float32(1.5)
    run.run(1, progress=False, checkpoint=tmp_path / "numpy.safetensors")
    assert run.load(tmp_path / "numpy.safetensors").evaluations == [(1, 1.5)]


def test_evaluation_leaves_each_module_in_its_own_mode():
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.1))
    model[1].eval()
    with training.evaluating(model):
        assert not model[0].training
    assert [part.training for part in model] == [True, False]


@pytest.mark.reference
def test_the_safetensors_library_reads_a_checkpoint(saved):
    reader = pytest.importorskip("safetensors.numpy")
    arrays = reader.load_file(saved)
    mine, _ = safetensors.load(saved)
    assert set(arrays) == set(mine)
    for name, array in mine.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_the_loss_curve_is_drawn_to_a_file(tmp_path):
    pytest.importorskip("matplotlib")
    run = trainer().run(4, eval_every=2, progress=False)
    run.picture(tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").stat().st_size > 1000


def test_the_progress_bar_tells_the_loss(capsys):
    trainer().run(3, progress=True)
    shown = "".join(capsys.readouterr())
    assert "3/3" in shown
    assert "held out" in shown


TINY = "--d-model 16 --n-heads 2 --n-layers 1 --context-length 16 --batch-size 4 --dropout 0.1"


def minigrad(command, capsys):
    """Exit status and output of a command line."""
    capsys.readouterr()
    status = main(shlex.split(command))
    return status, capsys.readouterr()


def test_train_stops_resumes_and_samples_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("text").write_text(data.shakespeare()[:20_000])
    assert minigrad(f"train --text text --steps 12 --out whole {TINY}", capsys)[0] == 0
    stopped = f"train --text text --steps 12 --stop-after 8 --out half {TINY}"
    assert minigrad(stopped, capsys)[0] == 0
    assert minigrad("train --text text --resume half --out half", capsys)[0] == 0
    _, first = training.read_checkpoint("whole")
    _, second = training.read_checkpoint("half")
    assert first["losses"] == second["losses"]
    assert first["notes"] == second["notes"]
    _, shown = minigrad("sample whole --length 30 --prompt 'The '", capsys)
    assert shown.out.startswith("The ")
    assert len(shown.out) == len("The ") + 30 + len("\n")
    _, shown = minigrad("sample whole --all --length 30", capsys)
    assert "greedy" in shown.out
    assert "top-p" in shown.out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --resume nowhere", "nowhere"),
        ("sample nowhere", "nowhere"),
        ("train --n-heads 3 --steps 1", "d_model 128 is not divisible by n_heads 3"),
        ("train --resume file --lr 1", "damaged|not a safetensors file"),
    ],
)
def test_the_command_line_says_what_is_wrong_in_one_line(
    command, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("{}")
    status, shown = minigrad(command, capsys)
    assert status == 1
    assert len(shown.err.splitlines()) == 1
    assert re.search(message, shown.err)
