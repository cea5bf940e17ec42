"""The training loop: steps, evaluation, checkpoints and exact resume."""

import json
import math
import time
from dataclasses import asdict

import numpy as np

import minigrad as mg
from minigrad import backend, viz
from minigrad.models import GPT, GPTConfig, safetensors
from minigrad.nn.module import evaluating
from minigrad.optim import clip_grad_norm


def next_token_loss(model, x, y):
    """Mean cross-entropy in nats of the model's logits for ids x (B, L), targets y (B, L)."""
    logits = model(x)  # (B, L) -> (B, L, V)
    return mg.cross_entropy(logits, backend.to_device(y, logits.device))


def held_out_loss(model, ids, batch_size=16, context_length=None, max_batches=None):
    """The mean loss in nats per token on text the model was not trained on.

    Arguments: ids (N,), cut into windows of context_length (the model's own unless given), which
    follow each other; max_batches, how many batches of windows to look at (spread evenly).
    Draws no random numbers; no dropout. Raises ValueError for text shorter than one window.
    """
    length = context_length or model.config.context_length
    ids = np.asarray(ids)
    count = (len(ids) - 1) // length
    if count < 1:
        raise ValueError(
            f"held_out_loss: {len(ids)} tokens are fewer than one window of {length} and its target"
        )
    starts = np.arange(count) * length
    if max_batches and max_batches * batch_size < count:
        starts = starts[np.linspace(0, count - 1, max_batches * batch_size).astype(int)]
    total = 0.0
    with evaluating(model), mg.no_grad():
        for first in range(0, len(starts), batch_size):
            rows = starts[first : first + batch_size, None] + np.arange(length)
            total += next_token_loss(model, ids[rows], ids[rows + 1]).item() * len(rows)
    return total / len(starts)


class Trainer:
    """Trains a model on batches, step by step, and remembers all it needs to go on exactly.

    Arguments:
        model: a Module.
        optimizer: over the model's parameters.
        batches: an iterator of (x, y); with ``state_dict`` and ``load_state_dict`` for resume.
        schedule: step -> learning rate, steps counted from 0; None keeps the optimizer's.
        loss: (model, x, y) -> scalar Tensor.
        max_norm: clip the gradients' joint norm to this; None does not.
        evaluate: () -> held-out loss, a float; None for none.
        notes: whatever JSON can hold, kept in checkpoints (a tokenizer's alphabet, say).
    """

    def __init__(
        self,
        model,
        optimizer,
        batches,
        *,
        schedule=None,
        loss=next_token_loss,
        max_norm=1.0,
        evaluate=None,
        notes=None,
    ):
        self.model, self.optimizer, self.batches = model, optimizer, batches
        self.schedule, self.loss, self.max_norm = schedule, loss, max_norm
        self.evaluate, self.notes = evaluate, notes or {}
        #: the training loss of every step, and (step, held-out loss) pairs
        self.losses, self.evaluations = [], []

    @property
    def steps(self):
        """Steps made so far, those before a resume included."""
        return len(self.losses)

    def step(self):
        """One step: batch, loss, gradients, clipping, update. Returns the loss, a float.

        Raises FloatingPointError when the loss is not finite; the parameters are unchanged then.
        """
        x, y = next(self.batches)
        if self.schedule is not None:
            self.optimizer.lr = self.schedule(self.steps)
        self.optimizer.zero_grad()
        loss = self.loss(self.model, x, y)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(
                f"step {self.steps}: the loss is {value} at learning rate {self.optimizer.lr:g}; "
                "a smaller one, warm-up or clipping may help"
            )
        loss.backward()
        if self.max_norm is not None:
            clip_grad_norm(self.optimizer.parameters, self.max_norm)
        self.optimizer.step()
        self.losses.append(value)
        return value

    def run(
        self,
        steps,
        *,
        eval_every=0,
        checkpoint=None,
        checkpoint_every=0,
        progress=True,
        on_step=None,
    ):
        """Train until ``steps`` steps have been made in all; returns the trainer.

        Arguments: eval_every and checkpoint_every, in steps (0: at the end only); checkpoint, the
        file to save to; progress, whether to show a bar; on_step, called with the trainer after
        each step.
        """
        self.model.train()
        bar = progress_bar(steps, self.steps) if progress else None
        try:
            while self.steps < steps:
                loss = self.step()
                last = self.steps == steps
                if self.evaluate and (last or (eval_every and self.steps % eval_every == 0)):
                    self.evaluations.append((self.steps, float(self.evaluate())))
                if checkpoint and (last or _due(self.steps, checkpoint_every)):
                    self.save(checkpoint)
                if bar:
                    bar.show(loss, self.evaluations)
                if on_step:
                    on_step(self)
        finally:
            if bar:
                bar.close()
        return self

    def curve(self, width=64, height=12):
        """The loss of every step as a drawing in text."""
        return viz.text_curve(self.losses, width, height, steps=(1, self.steps))

    def picture(self, path=None):
        """The loss of every step and the held-out losses as a matplotlib figure.

        It is also saved to ``path`` (.png, .svg, .pdf) if one is given.
        """
        held_out = list(zip(*self.evaluations)) or None
        figure = viz.loss_curve(range(1, self.steps + 1), self.losses, val=held_out)
        if path is not None:
            viz.save(figure, path)
        return figure

    def save(self, path):
        """Write a checkpoint: parameters, optimizer, batches, random state, losses and notes."""
        optimizer = self.optimizer.state_dict()
        arrays = {f"model.{name}": array for name, array in self.model.state_dict().items()}
        arrays |= {f"optimizer.{k}": v for k, v in optimizer.items() if backend.is_array(v)}
        batches = getattr(self.batches, "state_dict", None)
        about = {
            "version": 1,
            "model": type(self.model).__name__,
            "config": _config(self.model),
            "optimizer": type(self.optimizer).__name__,
            "optimizer_steps": optimizer["steps"],
            "random_state": backend.random_state(),
            "batches": batches() if batches else None,
            "losses": self.losses,
            "evaluations": self.evaluations,
            "notes": self.notes,
        }
        arrays = {name: backend.to_device(array, "cpu") for name, array in arrays.items()}
        safetensors.save(path, arrays, {"minigrad": json.dumps(about)})

    def load(self, path):
        """Go on from a checkpoint, exactly as if training had never stopped; returns the trainer.

        Raises ValueError that says what is wrong when the file is damaged, no checkpoint, or one
        of another model, optimizer or kind of batches.
        """
        arrays, about = read_checkpoint(path)
        for what, mine in (("model", self.model), ("optimizer", self.optimizer)):
            if about[what] != type(mine).__name__:
                raise ValueError(
                    f"{path}: its {what} is {about[what]}, this one is {type(mine).__name__}"
                )
        mine = _config(self.model)
        if mine is not None and (changed := [n for n in mine if mine[n] != about["config"][n]]):
            raise ValueError(
                f"{path}: its model has {changed[0]} {about['config'][changed[0]]!r}, "
                f"this one has {mine[changed[0]]!r}"
            )
        restore = getattr(self.batches, "load_state_dict", None)
        if (about["batches"] is None) != (restore is None):
            raise ValueError(f"{path}: the batches cannot be put back where they were")
        optimizer = _under("optimizer.", arrays) | {"steps": about["optimizer_steps"]}
        try:
            self.model.load_state_dict(_under("model.", arrays))
            self.optimizer.load_state_dict(optimizer)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if restore:
            restore(about["batches"])
        backend.set_random_state(about["random_state"])
        self.losses, self.notes = about["losses"], about["notes"]
        self.evaluations = [tuple(pair) for pair in about["evaluations"]]
        return self


def _config(model):
    return asdict(model.config) if isinstance(model, GPT) else None


def _due(step, every):
    return every and step % every == 0


def _under(prefix, arrays):
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}


def read_checkpoint(path):
    """(arrays, what else was saved) of a checkpoint.

    Raises ValueError that names the file and what is wrong with it, FileNotFoundError.
    """
    arrays, metadata = safetensors.load(path, needs_checksum=True)
    foreign = f"{path}: a safetensors file, but no minigrad checkpoint"
    try:
        about = json.loads(metadata["minigrad"])
    except (KeyError, ValueError) as error:
        raise ValueError(foreign) from error
    if not isinstance(about, dict):
        raise ValueError(foreign)
    if about.get("version") != 1:
        raise ValueError(f"{path}: checkpoint version {about.get('version')}, expected 1")
    return arrays, about


def load_model(path):
    """(model, notes) of a checkpoint of a GPT, in evaluation mode."""
    arrays, about = read_checkpoint(path)
    if about["model"] != "GPT":
        raise ValueError(f"{path}: holds a {about['model']}, expected a GPT")
    model = GPT(GPTConfig(**about["config"]), seed=0)
    model.load_state_dict(_under("model.", arrays))
    return model.eval(), about["notes"]


class progress_bar:
    """A tqdm bar when tqdm is there, otherwise a line of text every five seconds."""

    def __init__(self, total, done):
        self.total, self.done, self.printed = total, done, time.monotonic()
        try:
            from tqdm.auto import tqdm
        except ImportError:
            self.bar = None
        else:
            self.bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True)

    def show(self, loss, evaluations):
        """One step further."""
        self.done += 1
        held_out = f"{evaluations[-1][1]:.3f}" if evaluations else "-"
        if self.bar:
            self.bar.set_postfix_str(f"loss {loss:.3f}, held out {held_out}", refresh=False)
            self.bar.update()
        elif time.monotonic() - self.printed > 5 or self.done == self.total:
            self.printed = time.monotonic()
            print(f"step {self.done}/{self.total}  loss {loss:.3f}  held out {held_out}")

    def close(self):
        """Leave the bar where it stands."""
        if self.bar:
            self.bar.close()
