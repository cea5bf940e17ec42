"""``minigrad launch -n N script.py``: a script as N processes, one for each rank.

``distributed.run(fn)`` in the script then runs on MPI or NCCL with N ranks; with NCCL, "cuda" is
the rank's own GPU.
"""

import argparse
import sys

ENGINES = ("mpi", "nccl")


def add_arguments(parser):
    """The options of ``minigrad launch``; what follows the script is the script's own."""
    parser.add_argument("-n", type=int, required=True, dest="size", metavar="N", help="ranks")
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        help="nccl: a GPU for each rank; mpi: processes on the CPU; by default nccl where there "
        "are GPUs enough",
    )
    parser.add_argument("-m", dest="module", metavar="MODULE", help="a module in place of a script")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="script.py …")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = __doc__


def run(arguments):
    """Start the ranks and wait for them; the exit status of the first that failed, or 0."""
    from minigrad.distributed import launching

    command = arguments.command
    if arguments.module:
        command = ["-m", arguments.module, *command]
    if not command or arguments.size < 1:
        wrong = "no script is given" if not command else f"-n is {arguments.size}, not 1 or more"
        print(f"minigrad launch: {wrong}: minigrad launch -n 4 script.py", file=sys.stderr)
        return 2
    engine = arguments.engine or ("nccl" if _gpus() >= arguments.size else "mpi")
    try:
        return launching.launch(command, arguments.size, engine)
    except RuntimeError as error:
        print(f"minigrad launch: {error}", file=sys.stderr)
        return 2


def _gpus():
    try:
        from cupy.cuda import runtime

        return runtime.getDeviceCount()
    except Exception:  # no CuPy, no driver, no GPU
        return 0
