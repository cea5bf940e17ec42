"""``minigrad tour``: two minutes in which a transformer learns to write Shakespeare."""

import json
import math
import sys
import time

from minigrad.course import writing
from minigrad.course.writing import say

#: chosen by measurement: the lowest held-out loss in about 95 s of training on two cores
SIZE = dict(context_length=64, d_model=128, n_heads=4, n_layers=2)
BATCH, STEPS, LEARNING_RATE = 12, 4000, 3e-3
QUICK = dict(context_length=32, d_model=32, n_heads=2, n_layers=1)
QUICK_BATCH, QUICK_STEPS = 8, 60


def add_arguments(parser):
    """The options of ``minigrad tour``."""
    parser.add_argument("--quick", action="store_true", help="a toy size, a few seconds")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default 0)")
    parser.add_argument("--json", metavar="FILE", help="also write what was measured to FILE")


def run(args):
    """Give the tour; returns the exit status."""
    say("Two minutes of minigrad: watch a transformer learn to write. (Ctrl-C leaves.)")
    print(flush=True)
    try:
        _tour(args)
    except KeyboardInterrupt:
        print("\n\nStopped. `minigrad tour` starts again whenever you like.")
        return 130
    return 0


def _tour(args):
    writing.compile_kernels()
    from minigrad import data, models, text

    works = data.shakespeare()
    tokenizer = text.CharTokenizer.from_text(works)
    size = QUICK if args.quick else SIZE
    model = models.GPT(models.GPTConfig(tokenizer.vocab_size, **size), seed=args.seed)
    config = model.config
    print(
        f"  text    all of Shakespeare: {len(works):,} characters, {tokenizer.vocab_size} kinds\n"
        f"  model   a GPT, {config.d_model} wide, {config.n_layers} deep: "
        f"{model.num_parameters:,} numbers, all random\n"
        "  engine  NumPy and this package; no other framework\n"
    )
    length = 60 if args.quick else 400
    before = writing.write(model, tokenizer, writing.PROMPT, length // 2, args.seed)
    say("Before it has read a word, it writes:")
    print(writing.indented(before, 3), end="\n\n", flush=True)
    trainer, seconds = _train(model, tokenizer, tokenizer.encode(works), args)
    if not args.quick:
        from minigrad.course import pretrained

        pretrained.keep(trainer)  # notebooks write with it where there is no larger model
    after = writing.write_all(model, tokenizer, writing.PROMPT, length, args.seed)
    say("The same model now, choosing each next character in four ways:")
    print(f"\n{writing.side_by_side(after)}", flush=True)
    _farewell()
    if args.json:
        _save(args.json, trainer, seconds, before, after)


def _train(model, tokenizer, ids, args):
    say(
        "Now it reads. For every character it guesses the next one; one walk back through the "
        "computation says how each number should change to guess better. Repeat:"
    )
    print(flush=True)
    steps, batch = (QUICK_STEPS, QUICK_BATCH) if args.quick else (STEPS, BATCH)
    trainer = new_trainer(model, tokenizer, ids, steps, batch, args.seed)
    start = trainer.evaluate()
    trainer.evaluations.append((0, start))
    line = _Line(steps, model.config.context_length * batch, lambda: _glimpse(model, tokenizer))
    trainer.run(steps, eval_every=max(steps // 5, 1), progress=False, on_step=line)
    seconds = line.end()
    end = trainer.evaluations[-1][1]
    print("loss: its surprise at each next character, in nats")
    print(trainer.curve())
    print(flush=True)
    say(
        f"On plays it has never seen, its loss fell from {start:.2f} to {end:.2f}: it was as "
        f"unsure as between {math.exp(start):.0f} characters, now as between {math.exp(end):.1f}. "
        f"That took {seconds:.0f} seconds."
    )
    print(flush=True)
    return trainer, seconds


def new_trainer(model, tokenizer, ids, steps, batch, seed):
    """The Trainer of a tour: a model that is to learn from token ids (L,) in a number of steps."""
    from minigrad import data, optim, training

    learn, held_out = writing.split(ids)
    return training.Trainer(
        model,
        optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.1),
        data.token_batches(learn, batch, model.config.context_length, seed=seed),
        schedule=optim.cosine(LEARNING_RATE, steps, warmup=steps // 20, final=LEARNING_RATE / 30),
        evaluate=lambda: training.held_out_loss(model, held_out, max_batches=20),
        notes={"characters": list(tokenizer.characters)},
    )


def _glimpse(model, tokenizer):
    """A line of what the model writes by now."""
    text = writing.write(model, tokenizer, writing.PROMPT, 64, seed=0, temperature=0.7)
    return " / ".join(text.split("\n"))[:52]


class _Line:
    """How training goes: one line rewritten in place on a screen, and a sample now and then."""

    def __init__(self, steps, tokens_per_step, glimpse):
        self.steps, self.tokens, self.glimpse = steps, tokens_per_step, glimpse
        self.samples = {max(int(steps * share), 1) for share in (0.01, 0.05, 0.15, 0.4, 0.7)}
        self.live = sys.stdout.isatty()
        self.begun = self.shown = time.monotonic()
        self.smooth = None

    def __call__(self, trainer):
        done, loss, now = trainer.steps, trainer.losses[-1], time.monotonic()
        self.smooth = loss if self.smooth is None else 0.95 * self.smooth + 0.05 * loss
        if done in self.samples:
            self.show(f"  step {done:>5}  loss {self.smooth:.2f}   {self.glimpse()}", keep=True)
        if self.live and (now - self.shown > 0.1 or done == self.steps):
            self.shown = now
            self.show(self.bar(done, now - self.begun), keep=False)

    def bar(self, done, elapsed):
        """The line with the bar."""
        left = elapsed / done * (self.steps - done)
        filled = 24 * done // self.steps
        speed = self.tokens * done / elapsed / 1000
        return (
            f"  {'━' * filled}{'·' * (24 - filled)} {done:>5}/{self.steps}  loss {self.smooth:.2f}"
            f"  {speed:.0f}k characters/s  {left:>3.0f} s left"
        )

    def show(self, text, keep):
        """Print over the line that stands there; ``keep`` moves on to the next."""
        print(f"\r{text:<79}" if self.live else text, end="\n" if keep else "", flush=True)

    def end(self):
        """Leave the line; returns the seconds since the first step began."""
        print("\n" if self.live else "", flush=True)
        return time.monotonic() - self.begun


def _farewell():
    print(
        "Where to go now\n"
        "  notebooks/00_start_here.ipynb   forty lines from a derivative to a model like this\n"
        "  minigrad train --help           train your own, longer or on your own text\n"
        "  minigrad doctor                 what this machine has, and what would make it faster"
    )


def _save(path, trainer, seconds, before, after):
    from dataclasses import asdict

    from minigrad.files import replacing

    measured = {
        "config": asdict(trainer.model.config),
        "parameters": trainer.model.num_parameters,
        "steps": trainer.steps,
        "seconds": round(seconds, 1),
        "losses": [round(loss, 4) for loss in trainer.losses],
        "held_out": [(step, round(loss, 4)) for step, loss in trainer.evaluations],
        "before": before,
        "after": after,
    }
    with replacing(path, "w", encoding="utf-8") as file:
        json.dump(measured, file, indent=1)
