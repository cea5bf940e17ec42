"""``minigrad train``: train a character GPT with options, stop, and go on exactly."""

import sys
from pathlib import Path

from minigrad.course import writing
from minigrad.course.writing import say

OPTIONS = {
    "context_length": (64, "characters the model sees at once, L"),
    "d_model": (128, "width, D"),
    "n_heads": (4, "attention heads"),
    "n_layers": (2, "blocks"),
    "batch_size": (12, "windows in a batch, B"),
    "lr": (3e-3, "highest learning rate"),
    "weight_decay": (0.1, "of AdamW"),
    "dropout": (0.0, "probability"),
    "seed": (0, "of weights, batches and dropout"),
}


def add_arguments(parser):
    """The options of ``minigrad train``."""
    parser.add_argument(
        "--out", default="model.safetensors", help="checkpoint to write (%(default)s)"
    )
    parser.add_argument(
        "--resume", metavar="FILE", help="go on from a checkpoint, with its settings"
    )
    parser.add_argument("--text", metavar="FILE", help="text to learn (default: Shakespeare)")
    parser.add_argument("--steps", type=int, help="steps in all (2000, or those of the checkpoint)")
    for name, (default, text) in OPTIONS.items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(default), help=f"{text} (default {default:g})")
    parser.add_argument("--stop-after", type=int, help="leave after this step, to resume later")
    parser.add_argument("--eval-every", type=int, default=200, help="in steps (default 200)")
    parser.add_argument("--save-every", type=int, default=200, help="in steps (default 200)")
    parser.add_argument("--curve", metavar="FILE", help="draw the loss curve to FILE (.png, .svg)")


def run(args):
    """Train; returns the exit status."""
    say("minigrad train: reading the text.")
    try:
        return _train(args)
    except KeyboardInterrupt:
        print(f"\nStopped. `minigrad train --resume {args.out}` goes on from its last save.")
        return 130
    except (ValueError, OSError) as error:
        print(f"minigrad train: {error}", file=sys.stderr)
        return 1


def settings(args):
    """All that decides the run, from the options or from the checkpoint that is resumed."""
    given = {n: getattr(args, n) for n in (*OPTIONS, "steps") if getattr(args, n) is not None}
    if not args.resume:
        defaults = {name: default for name, (default, _) in OPTIONS.items()}
        return {**defaults, "steps": 2000, **given}, None
    from minigrad import training

    _, about = training.read_checkpoint(args.resume)
    if "settings" not in about["notes"]:
        raise ValueError(f"{args.resume}: was not written by `minigrad train`")
    if fixed := sorted(given.keys() - {"steps"}):
        raise ValueError(f"--resume keeps the checkpoint's settings; leave out {', '.join(fixed)}")
    return {**about["notes"]["settings"], **given}, about["notes"]["characters"]


def _train(args):
    trainer = _trainer(args)
    writing.compile_kernels()
    if args.resume:
        notes = trainer.notes
        trainer.load(args.resume).notes = notes
        say(f"Going on after step {trainer.steps}.")
    steps = trainer.notes["settings"]["steps"]
    trainer.run(
        min(steps, args.stop_after or steps),
        eval_every=args.eval_every,
        checkpoint=args.out,
        checkpoint_every=args.save_every,
    )
    print(f"\nloss in nats per character\n{trainer.curve()}")
    if args.curve:
        trainer.picture(args.curve)
    print(f"held-out loss {trainer.evaluations[-1][1]:.3f}; saved to {args.out}")
    print(f"`minigrad sample {args.out}` makes it write.")
    return 0


def _trainer(args):
    """The Trainer that the options, or the checkpoint to resume, describe."""
    chosen, characters = settings(args)
    import minigrad as mg
    from minigrad import data, models, optim, text, training

    works = Path(args.text).read_text("utf-8") if args.text else data.shakespeare()
    tokenizer = text.CharTokenizer(characters or sorted(set(works)))
    learn, held_out = writing.split(tokenizer.encode(works))
    mg.manual_seed(chosen["seed"])
    sizes = {n: chosen[n] for n in ("context_length", "d_model", "n_heads", "n_layers", "dropout")}
    model = models.GPT(models.GPTConfig(tokenizer.vocab_size, **sizes), seed=chosen["seed"])
    print(f"{model.num_parameters:,} parameters, {len(learn):,} characters to learn from")
    lr, steps = chosen["lr"], chosen["steps"]
    return training.Trainer(
        model,
        optim.AdamW(
            model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=chosen["weight_decay"]
        ),
        data.token_batches(learn, chosen["batch_size"], sizes["context_length"], chosen["seed"]),
        schedule=optim.cosine(lr, steps, warmup=min(100, steps // 20), final=lr / 30),
        evaluate=lambda: training.held_out_loss(model, held_out, max_batches=20),
        notes={"characters": list(tokenizer.characters), "settings": chosen},
    )
