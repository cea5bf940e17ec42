"""The command line: ``minigrad tour``, ``minigrad doctor`` and the rest.

A sub-command is a line in COMMANDS and a module with ``add_arguments(parser)`` and
``run(arguments)``, which returns the exit status. The module is imported only when it is asked
for, and should import what is slow only in ``run``, after its first words are on the screen.
"""

import argparse
import difflib
import importlib
import os
import signal
import sys
from typing import NamedTuple

import minigrad


class Command(NamedTuple):
    """A sub-command: the module that holds it, one line on what it does, and whom it is for."""

    module: str
    help: str
    group: str = "For instructors and authors"


EXERCISES, MORE = "Exercises", "Then"
COMMANDS = {
    "tour": Command(
        "minigrad.course.tour", "watch a transformer learn to write, in two minutes", MORE
    ),
    "train": Command(
        "minigrad.course.train", "train a GPT on Shakespeare or on your own text", MORE
    ),
    "sample": Command("minigrad.course.sample", "let a trained GPT write", MORE),
    "doctor": Command("minigrad.course.doctor", "what this machine has, and what is missing", MORE),
    "chat": Command("minigrad.course.chat", "talk to a language model", MORE),
    "generate": Command("minigrad.course.generate", "let a language model continue a text", MORE),
    "download": Command("minigrad.course.download", "fetch a language model beforehand", MORE),
    "launch": Command("minigrad.course.launch", "a script as several ranks: MPI or NCCL", MORE),
    "next": Command(
        "minigrad.course.next", "the next exercise: what to write, and where", EXERCISES
    ),
    "watch": Command("minigrad.course.watch", "check it whenever you save, and move on", EXERCISES),
    "check": Command(
        "minigrad.course.check", "check once: the first thing that is wrong", EXERCISES
    ),
    "hint": Command("minigrad.course.hint", "a hint, from vague to concrete", EXERCISES),
    "list": Command("minigrad.course.list", "all exercises, and how far you are", EXERCISES),
    "reset": Command("minigrad.course.reset", "begin an exercise anew; yours is kept", EXERCISES),
    "solution": Command("minigrad.course.solution", "how the course writes what passed", EXERCISES),
    "stubs": Command("minigrad.course.stubs", "make exercises/ from solutions/"),
    "verify": Command("minigrad.course.verify", "check that exercises are sound, tests and all"),
    "handout": Command("minigrad.course.handout", "a folder of exercises to give to students"),
    "grade": Command("minigrad.course.grade", "judge what students handed in, behind walls"),
}

OVERVIEW = """\
minigrad: a course you can run, from the first derivative to a language model.

Start here
  minigrad tour            {tour}
  jupyter lab notebooks    read on: open 00_start_here.ipynb

{others}

minigrad COMMAND --help says more about each."""


def main(argv=None):
    """Run one sub-command and return its exit status; 130 after Ctrl-C, as shells expect."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        if not argv:
            print(overview())
            return 0
        command, arguments = parse(argv)
        status = command.run(arguments) or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        # A second Ctrl-C while threads and files are being closed would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("\nminigrad: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output (head, less) has left; leave nothing to be flushed into the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def overview():
    """What ``minigrad`` alone prints: what there is to do, and what to do first."""
    groups = {EXERCISES: [], MORE: []}
    for name, command in COMMANDS.items():
        if name != "tour":
            line = f"  minigrad {name:<15} {command.help}"
            groups.setdefault(command.group, []).append(line)
    others = "\n\n".join("\n".join([group, *lines]) for group, lines in groups.items())
    return OVERVIEW.format(tour=COMMANDS["tour"].help, others=others)


def parse(argv):
    """(module, arguments) of the sub-command named in ``argv``; exits with a message if none is."""
    parser = argparse.ArgumentParser(
        prog="minigrad",
        description="A course you can run: from the first derivative to a language model.",
    )
    parser.add_argument("--version", action="version", version=f"minigrad {minigrad.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    if chosen is not None and chosen not in COMMANDS:
        parser.error(unknown(chosen))
    module = None
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.help, description=command.help)
        if name == chosen:
            module = importlib.import_module(command.module)
            module.add_arguments(subparser)
    return module, parser.parse_args(argv)


def unknown(word):
    """The message for a sub-command that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    guess = f"did you mean 'minigrad {near[0]}'?" if near else f"there are: {', '.join(COMMANDS)}"
    return f"no command {word!r}; {guess}"


if __name__ == "__main__":
    sys.exit(main())
