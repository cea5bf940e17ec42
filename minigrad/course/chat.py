"""``minigrad chat``: talk to a model in the terminal."""

import contextlib
import re
import sys

from minigrad.course import screens, speech

PROMPT = "> "
HELP = """\
  /reset    begin anew
  /help     this list
  /exit     leave; so does Ctrl-D
  Ctrl-C    stops an answer
A line that ends in \\ goes on in the next one."""
MORE = """\
Lines that are piped in are questions of one conversation. On a terminal each answer is followed by
its TTFT (time to first token), TPOT (time per output token after it), tokens per second, and MBU
(the share of this machine's memory bandwidth that decoding makes use of). What has been read stays
in the KV cache, so that each turn reads only what is new. When the context is full, the oldest
turns are forgotten."""


def add_arguments(parser):
    """The options of ``minigrad chat``."""
    parser.epilog = MORE
    parser.add_argument(
        "model", nargs="?", default=speech.MODEL, help=f"{speech.WHERE} (%(default)s)"
    )
    parser.add_argument("--system", metavar="TEXT", help="what to tell the model before all else")
    parser.add_argument(
        "--max-new-tokens", type=int, default=512, metavar="N", help="of an answer (%(default)s)"
    )
    parser.add_argument(
        "--context", type=int, metavar="N", help="tokens to remember (the model's own limit)"
    )
    parser.add_argument("--device", help='"cuda" to use a GPU')
    speech.add_decoding(parser)


def run(args):
    """Talk until the input ends; returns the exit status."""
    speech.any_characters()
    with speech.attempt("chat"):
        decoding, conversation = _begin(args)
    talk = Talk(conversation, decoding, args.max_new_tokens)
    asking = sys.stdin.isatty() and sys.stdout.isatty()
    if asking:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 (input() edits lines with it)
        print(f"{args.model}, {_sizes(conversation)}. Ask, or /help.\n", flush=True)
    return talk.on_terminal() if asking else talk.on_lines(sys.stdin)


def _begin(args):
    speech.passing("minigrad chat …")
    if args.max_new_tokens < 1:
        raise ValueError(f"--max-new-tokens is {args.max_new_tokens}, expected 1 or more")
    from minigrad.course.conversation import Conversation
    from minigrad.perf import peak_bandwidth

    decoding = speech.decoding(args)
    model = speech.opened(args.model, args.device)
    peak = peak_bandwidth(model.token_embedding.weight.device)
    conversation = Conversation(model, args.system, args.context, peak)
    with speech.compiling():
        conversation.warm_up()
    return decoding, conversation


def _sizes(conversation):
    from minigrad.inference import metrics

    weights = metrics.parameter_bytes(conversation.model) / 1e6
    return f"{weights:,.0f} MB of weights; memory gives {conversation.peak / 1e9:,.0f} GB a second"


class Talk:
    """Questions in, answers out.

    Arguments: conversation, a Conversation; decoding, a strategy; max_new_tokens of an answer.
    """

    def __init__(self, conversation, decoding, max_new_tokens):
        self.conversation, self.decoding = conversation, decoding
        self.max_new_tokens, self.failed = max_new_tokens, False

    def on_terminal(self):
        """Ask and answer until the reader leaves."""
        while True:
            try:
                line = _typed()
            except EOFError:
                print()
                return 0
            except KeyboardInterrupt:
                print("\nCtrl-D or /exit leaves.")
                continue
            if not self.turn(line):
                return 0

    def on_lines(self, lines):
        """Answer line after line. Returns 1 if one of them could not be answered."""
        for line in lines:
            if not self.turn(line.rstrip("\n")):
                break
        return int(self.failed)

    def turn(self, line):
        """Answer a question or obey a command; False to leave."""
        word = line.strip()
        if word == "/exit":
            return False
        if word == "/reset":
            self.conversation.reset()
            speech.note("Begun anew.\n")
        elif word == "/help":
            speech.note(f"{HELP}\n")
        elif re.fullmatch(r"/[a-z]+", word):
            speech.note(f"There is no {word}; there are /reset, /help and /exit.\n")
        elif word:
            self.answer(line)
        return True

    def answer(self, question):
        """Stream the answer, and say how fast it came."""
        flow, talk = speech.flow(), self.conversation
        try:
            with speech.stoppable() as stopped:
                pieces = talk.ask(question, self.max_new_tokens, self.decoding)
                for piece in pieces:
                    flow.write(piece)
                    if stopped():
                        pieces.close()
                        break
        except (ValueError, FloatingPointError) as error:
            self.failed = True
            speech.note(f"Not answered: {error}.")
            return
        flow.end()
        self.remarks(stopped())

    def remarks(self, stopped):
        """The quiet lines below an answer."""
        talk, lines = self.conversation, []
        if talk.forgotten:
            turns = f"{talk.forgotten} turns are" if talk.forgotten > 1 else "turn is"
            lines.append(f"the context is full: the oldest {turns} forgotten")
        if stopped:
            lines.append("stopped")
        elif talk.cut:
            lines.append(f"cut off after {talk.timing.n} tokens")
        if talk.timing:
            lines.append(speech.figures(talk.timing, talk.kept))
        paint = screens.ink(sys.stderr)
        for line in lines:
            speech.note(paint("dim", line))
        if sys.stdout.isatty() or sys.stderr.isatty():
            speech.note("")


def _typed():
    """What is typed, over several lines if they end in a backslash."""
    line = input(PROMPT)
    while line.endswith("\\"):
        line = f"{line[:-1]}\n{input('… ')}"
    return line
