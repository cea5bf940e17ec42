"""``minigrad sample``: a trained model writes, one character at a time."""

import sys

from minigrad.course import writing


def add_arguments(parser):
    """The options of ``minigrad sample``."""
    parser.add_argument("checkpoint", help="a file written by `minigrad train`")
    parser.add_argument("--prompt", default="\n", help="what to continue (default: a new line)")
    parser.add_argument("--length", type=int, default=500, help="characters to write (500)")
    parser.add_argument("--greedy", action="store_true", help="always the likeliest character")
    parser.add_argument("--temperature", type=float, default=0.8, help="higher is bolder (0.8)")
    parser.add_argument("--top-k", type=int, help="draw from the k likeliest only")
    parser.add_argument("--top-p", type=float, help="draw from the likeliest with this mass only")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")
    parser.add_argument("--all", action="store_true", help="four strategies side by side")


def run(args):
    """Write; returns the exit status."""
    try:
        return _sample(args)
    except KeyboardInterrupt:
        print()
        return 130
    except (ValueError, OSError) as error:
        print(f"minigrad sample: {error}", file=sys.stderr)
        return 1


def _sample(args):
    from minigrad import inference, text, training

    model, notes = training.load_model(args.checkpoint)
    if "characters" not in notes:
        raise ValueError(f"{args.checkpoint}: holds no characters to write with")
    tokenizer = text.CharTokenizer(notes["characters"])
    if args.all:
        texts = writing.write_all(model, tokenizer, args.prompt, args.length, args.seed)
        print(writing.side_by_side(texts, lines=20))
        return 0
    how = inference.Greedy()
    if not args.greedy:
        how = inference.Sample(args.temperature, args.top_k, args.top_p, seed=args.seed)
    endless = inference.Window(model)
    ids = tokenizer.encode(args.prompt)
    print(args.prompt.lstrip("\n"), end="", flush=True)
    for token in inference.stream(endless, ids, args.length, how, cache=False):
        print(tokenizer.decode([token]), end="", flush=True)
    print()
    return 0
