"""What tour, train and sample share: the text, the tokenizer, and showing what a model writes."""

import shutil
import sys
import textwrap

PROMPT = "\n"

#: ways to choose the next character: label, what it does, options of ``inference.sample``
STRATEGIES = (
    ("greedy", "always the likeliest", {"greedy": True}),
    ("temperature 0.8", "draw, a little tamer", {"temperature": 0.8}),
    ("top-k 10", "draw from the best 10", {"top_k": 10}),
    ("top-p 0.9", "draw from the best 90 %", {"top_p": 0.9}),
)


def say(text=""):
    """Print a paragraph, wrapped to the screen, at once."""
    print(textwrap.fill(text, width=min(screen_width(), 88)), flush=True)


def screen_width():
    """Columns of the terminal, at most 120; 80 when the output goes elsewhere."""
    return min(shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80, 120)


def split(ids):
    """Token ids in two: to learn from, and the last tenth, held out to measure on."""
    cut = len(ids) * 9 // 10
    return ids[:cut], ids[cut:]


def compile_kernels():
    """Compile the CPU kernels that training uses, unless an earlier run has, and say so."""
    from minigrad import cpu

    def announce(*_):
        if not announced:
            announced.append(True)
            print("Compiling kernels (only this once) ", end="", flush=True)
        print(".", end="", flush=True)

    announced = []
    cpu.warm_up(None, announce)
    if announced:
        print(" done\n", flush=True)


def write(model, tokenizer, prompt, length, seed, **how):
    """The characters that a model writes after a prompt."""
    from minigrad import inference

    ids = inference.sample(model, tokenizer.encode(prompt), length, seed=seed, **how)
    return tokenizer.decode(ids[len(prompt) :])


def write_all(model, tokenizer, prompt, length, seed):
    """{label: text} for every strategy."""
    return {
        label: write(model, tokenizer, prompt, length, seed, **how) for label, _, how in STRATEGIES
    }


def indented(text, lines=6):
    """The first lines of a text, set in from the margin."""
    width = screen_width() - 8
    return "\n".join(f"    │ {line}" for line in rows(text, width, lines))


def rows(text, width, count):
    """The first ``count`` lines of a text, blank ones left out, long ones broken at ``width``."""
    wrapped = [
        piece for line in text.splitlines() if line.strip() for piece in textwrap.wrap(line, width)
    ]
    return wrapped[:count]


def side_by_side(texts, lines=9):
    """Labelled texts in two columns: {label: text} to one string."""
    notes = {label: note for label, note, _ in STRATEGIES}
    width = (screen_width() - 7) // 2
    cells = [
        [f"{label} ({notes[label]})", "─" * width, *rows(text, width, lines)]
        for label, text in texts.items()
    ]
    out = []
    for left, right in zip(cells[::2], cells[1::2], strict=True):
        height = max(len(left), len(right))
        left, right = (cell + [""] * (height - len(cell)) for cell in (left, right))
        out += [f"  {a:<{width}}   {b}".rstrip() for a, b in zip(left, right, strict=True)] + [""]
    return "\n".join(out)
