"""What generate and chat share: a model by name, how it decodes, text that appears as it comes."""

import codecs
import contextlib
import shutil
import signal
import sys
import unicodedata
from pathlib import Path

from minigrad.course import screens

MODEL = "smollm2-135m-instruct"
DRAWING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
WHERE = "a name that `minigrad download` knows, a Hugging Face folder or a .gguf file"


def add_decoding(parser):
    """The options that say how the next token is chosen."""
    group = parser.add_argument_group("how each token is chosen (the likeliest, unless told)")
    group.add_argument("--greedy", action="store_true", help="always the likeliest token")
    group.add_argument("--temperature", type=float, help="draw; below 1 tamer, above 1 bolder")
    group.add_argument("--top-k", type=int, help="draw from the k likeliest only")
    group.add_argument("--top-p", type=float, help="draw from the likeliest with this mass only")
    group.add_argument(
        "--min-p", type=float, help="draw from those with this share of the likeliest's mass only"
    )
    group.add_argument(
        "--repetition-penalty", type=float, help="draw; above 1, words that stand there are rarer"
    )
    group.add_argument("--seed", type=int, help="of the draws, to get the same ones again")


def decoding(args):
    """The strategy that the options ask for. Raises ValueError for options that contradict."""
    from minigrad import inference

    given = {name: getattr(args, name) for name in DRAWING if getattr(args, name) is not None}
    beams = getattr(args, "beams", None)
    if args.seed is not None and not given:
        given["temperature"] = 1.0
    words = ", ".join("--" + name.replace("_", "-") for name in given)
    if beams is not None and (given or args.greedy):
        raise ValueError(f"--beams goes without {words or '--greedy'}")
    if args.greedy and given:
        raise ValueError(f"--greedy leaves nothing to draw; leave out {words}")
    if beams is not None:
        return inference.BeamSearch(beams, args.length_penalty)
    return inference.Sample(**given, seed=args.seed) if given else inference.Greedy()


def any_characters():
    """Let the input and the outputs take any text, whatever the terminal can show."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def note(text):
    """Print a line for the reader, beside the output proper."""
    print(text, file=sys.stderr, flush=True)


def passing(text):
    """Show what is going on, on a line that the next one is written over; only on a terminal."""
    if screens.live(sys.stderr):
        print(
            f"\r\x1b[K{screens.ink(sys.stderr)('dim', text)}", end="", file=sys.stderr, flush=True
        )


def opened(name, device):
    """The model of a name, folder or file, on a device, with a tokenizer; fetched if need be.

    Raises OSError and ValueError as ``models.load`` does, and ValueError without a tokenizer.
    """
    passing(f"loading {name} …")
    from minigrad import models
    from minigrad.models import store

    if name in store.MODELS and not Path(name).exists() and store.cached(name) is None:
        model = store.MODELS[name]
        passing("")
        note(f"{name} is not here yet: {model.size / 1e6:.0f} MB to fetch, once ({model.about}).")
        store.fetch(name)
        passing(f"loading {name} …")
    model = models.load(name)
    if model.tokenizer is None:
        raise ValueError(f"{name}: there is no tokenizer.json beside the weights")
    try:
        return model if device is None else model.to(device)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


@contextlib.contextmanager
def attempt(command):
    """Turn what may go wrong with files, options and the network into one message and status 1."""
    try:
        yield
    except (OSError, ValueError, ImportError, FloatingPointError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        passing("")
        note(f"minigrad {command}: {str(error).removeprefix('generate: ')}")
        sys.exit(1)


@contextlib.contextmanager
def compiling():
    """Say so if kernels are compiled inside the block, which happens only once."""
    from minigrad import cpu

    with cpu.on_compilation(lambda _: passing("compiling kernels, only this once …"), ""):
        yield
    passing("")


def spoken(tokens, tokenizer):
    """Yield the text of each token once it is known: a character may take several tokens.

    Special tokens are left out, and bytes at the end that make no whole character.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        yield decoder.decode(tokenizer.decode_bytes([token], special=False))


class Flow:
    """Text written piece by piece; on a terminal, lines are broken between words.

    Arguments: out, where to write; width, columns, or None to leave lines as they are. A word is
    shown once it is known to be whole.
    """

    def __init__(self, out=None, width=None):
        self.out, self.width = out or sys.stdout, width
        self.column, self.gap, self.word = 0, "", ""

    def write(self, text):
        """Add a piece of text."""
        if self.width is None:
            self.out.write(text)
        for character in screens.clean(text) if self.width else "":
            if character == "\n":
                self._place()
                self.out.write("\n")
                self.column, self.gap = 0, ""
            elif character == " ":
                self._place()
                self.gap += " "
            else:
                self.word += character
                if columns(self.word) >= self.width or columns(character) == 2:
                    self._place()
        self.out.flush()

    def _place(self):
        """Write the word, on this line if there is room."""
        if self.word:
            if self.column and self.column + len(self.gap) + columns(self.word) > self.width:
                self.out.write("\n")
                self.column, self.gap = 0, ""
            self.out.write(self.gap + self.word)
            self.column += len(self.gap) + columns(self.word)
            self.gap = self.word = ""

    def end(self):
        """Write what is left, and end the line."""
        if self.width is not None:
            self._place()
        self.out.write("\n")
        self.out.flush()


def flow():
    """A Flow to the output, as wide as the terminal if it is one."""
    width = min(shutil.get_terminal_size((80, 24)).columns, 100) - 1
    return Flow(width=max(width, 20) if sys.stdout.isatty() else None)


def columns(text):
    """How many columns a text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def figures(timing, kept=0):
    """A Timing in one line; kept, how many tokens were in the cache already."""
    parts = [f"TTFT {_seconds(timing.ttft)}"]
    if timing.n > 1:
        parts += [f"TPOT {_seconds(timing.tpot)}", f"{timing.throughput:.3g} tokens/s"]
        parts.append(f"MBU {timing.mbu():.0%}")
    parts.append(f"{timing.prompt} tokens read" + (f", {kept} kept" if kept else ""))
    return " · ".join(parts)


def _seconds(seconds):
    return f"{seconds:.2f} s" if seconds >= 0.9995 else f"{seconds * 1e3:.3g} ms"


@contextlib.contextmanager
def stoppable():
    """A function that tells whether Ctrl-C was pressed; pressed again, it raises as usual."""
    pressed = []

    def press(number, frame):
        if pressed:
            signal.default_int_handler(number, frame)
        pressed.append(True)

    try:
        before = signal.signal(signal.SIGINT, press)
    except ValueError:  # not the main thread
        yield lambda: False
        return
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
