"""``minigrad generate``: a model continues a text."""

import sys

from minigrad.course import screens, speech


def add_arguments(parser):
    """The options of ``minigrad generate``."""
    parser.add_argument("prompt", help="the text to continue; - to read it from the input")
    parser.add_argument(
        "--model", default=speech.MODEL, metavar="MODEL", help=f"{speech.WHERE} (%(default)s)"
    )
    parser.add_argument(
        "--max-new-tokens", type=int, default=100, metavar="N", help="at most (%(default)s)"
    )
    parser.add_argument("--device", help='"cuda" to use a GPU')
    speech.add_decoding(parser)
    group = parser.add_argument_group("beam search, which shows its text at the end")
    group.add_argument("--beams", type=int, metavar="N", help="so many texts side by side")
    group.add_argument(
        "--length-penalty", type=float, default=1.0, help="above 0 longer texts (%(default)s)"
    )


def run(args):
    """Write; returns the exit status."""
    speech.any_characters()
    with speech.attempt("generate"):
        speech.passing("minigrad generate …")
        prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
        decoding = speech.decoding(args)
        model = speech.opened(args.model, args.device)
        ids = model.tokenizer.encode(prompt)
        eos = model.tokenizer.eos
        write = _search if args.beams else _stream
        write(model, prompt, ids, args.max_new_tokens, decoding, () if eos is None else (eos,))
    return 0


def _stream(model, prompt, ids, max_new_tokens, decoding, stop):
    from minigrad import inference, perf

    cache = inference.cache_for(model, 1, max(len(ids) + max_new_tokens - 1, 1))
    tokens = inference.stream(model, ids, max_new_tokens, decoding, cache, stop)
    told = max_new_tokens and sys.stderr.isatty()
    peak = perf.peak_bandwidth(model.token_embedding.weight.device) if told else None
    with speech.compiling():
        list(inference.stream(model, ids[:1], min(max_new_tokens, 2)))
    run = inference.metrics.timed(tokens, model, cache, len(ids), peak)
    flow = speech.flow()
    flow.write(prompt)
    with speech.stoppable() as stopped:
        for piece in speech.spoken(run, model.tokenizer):
            flow.write(piece)
            if stopped():
                break
    flow.end()
    if told:
        speech.note(screens.ink(sys.stderr)("dim", speech.figures(run.timing)))


def _search(model, prompt, ids, max_new_tokens, decoding, stop):
    from minigrad import inference

    speech.passing(f"searching with {decoding.num_beams} beams …")
    found = inference.generate(model, ids, max_new_tokens, decoding, stop=stop)
    speech.passing("")
    flow = speech.flow()
    flow.write(prompt + model.tokenizer.decode(found[len(ids) :], special=False))
    flow.end()
