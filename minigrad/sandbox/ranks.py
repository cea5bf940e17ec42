"""Calls a function on simulated ranks, each with a communicator that is watched.

What comes back is plain: what each rank returned, which calls it made, and what the simulator
counted. All of this happens in the process of whoever wrote the function.
"""

import ast
import importlib
import importlib.util
import os
import re
import sys
from types import SimpleNamespace

#: how many lines of the file an error of several ranks shows
MOST_SITES = 3


class RanksFailure(Exception):
    """Ranks came to no good end; ``error`` is what was raised, the message tells all of it."""

    def __init__(self, error, message):
        super().__init__(message)
        self.error = error


def load(folder):
    """Import minigrad's simulator from its folder, and all that a run of it needs."""
    spec = importlib.util.spec_from_file_location(
        "minigrad", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    sys.modules["minigrad"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    distributed = importlib.import_module("minigrad.distributed")
    importlib.import_module("minigrad.distributed.watched")
    np = importlib.import_module("numpy")
    # Whatever is imported late is imported now: no file can be read behind the walls.
    distributed.run(lambda comm: comm.all_reduce(np.zeros(1)), 2, engine="simulated")


def run(works, settings, refuse):
    """Run one function a rank, each of which takes a communicator.

    Args:
        works: functions of a communicator; number r is that of rank r.
        settings: {"may_use": names or None, "topology": (class, fields) or None}.
        refuse: called with what a rank does though it may not, in words; it has to raise.

    Returns (results, {"seconds", "calls", "flows", "events"}): calls are {method: [times called by
    each rank]}, flows and events those of ``minigrad.distributed``, as tuples. Raises what a rank
    raised, or DistributedError.
    """
    from minigrad import distributed
    from minigrad.distributed.watched import Watched

    size, calls = len(works), {}

    def main(comm):
        rank = comm.rank

        def count(name):
            calls.setdefault(name, [0] * size)[rank] += 1

        not_allowed = lambda name: refuse(f"calls {name} of the communicator")
        return works[rank](Watched(comm, count, not_allowed, settings["may_use"]))

    topology = settings["topology"]
    if topology is not None:
        kind, fields = topology
        topology = getattr(distributed, kind)(**fields)
    try:
        found = distributed.run(main, size, engine="simulated", topology=topology)
    except Exception as error:
        error.called = set(calls)
        raise
    seen = {
        "seconds": float(found.seconds),
        "calls": calls,
        "flows": [tuple(flow) for flow in found.traffic.flows],
        "events": [tuple(event) for event in found.events or ()],
    }
    return list(found), seen


def failure(error, path):
    """A RanksFailure of an exception that a run raised: who raised it, where others waited, what it
    most likely comes from, and in ``error.sites`` the lines where ranks wait."""
    file = os.path.basename(path)
    words = "\n".join([str(error), *getattr(error, "__notes__", ())])
    lines = [int(line) for line in re.findall(rf"\b{re.escape(file)}:(\d+)", words)]
    told = re.sub(rf"\bat {re.escape(file)}:(\d+)", r"in line \1", words)
    if type(error).__name__ == "DistributedError":
        error.sites = [_site(path, line) for line in list(dict.fromkeys(lines))[:MOST_SITES]][::-1]
        if advice := _advice(str(error), getattr(error, "called", set())):
            told += f"\n\nLikely mistake: {advice}."
    return RanksFailure(error, told)


SENDS, RECEIVES = {"send", "isend"}, {"recv", "irecv"}


def _advice(words, called):
    """What an error of several ranks most likely comes from; None for who knows.

    ``called``: the methods of the communicator that any rank has called.
    """
    waits = re.findall(r"rank (\d+) waits in (\w+)[^\n]* for rank (\d+)", words)
    kinds = set(re.findall(r"rank \d+ waits in (\w+)", words))
    if words.startswith("nobody can go on"):
        if not kinds:
            return None
        if "returned before" in words and kinds <= SENDS:
            return "a message is sent that no rank receives any more"
        if "returned before" in words and kinds <= RECEIVES:
            return "a message is awaited that no rank sends any more"
        if kinds <= SENDS:
            return _advice_to_senders(waits, kinds, called)
        if kinds <= RECEIVES:
            return (
                "a rank waits for a message that nobody has sent it yet: see who waits for whom, "
                "and whether that one has sent it to another rank"
                if called & {*SENDS, "send_recv"}
                else "every rank receives first, so that nobody gets as far as sending"
            )
        if kinds <= {*SENDS, *RECEIVES, "send_recv"}:
            return "the ranks' sends and receives do not pair off: see who waits for whom"
        return (
            "a collective was not called by every rank of its group, or not in the same order: it "
            "must not stand inside an if, or in a loop, that ranks go through differently"
        )
    if words.startswith("ranks do not agree"):
        return (
            "all ranks have to make the same collective calls in the same order, with arrays of "
            "one shape and dtype"
        )
    if words.startswith("all ranks have returned"):
        return "something was sent, or called, that other ranks have not received, or not called"
    return None


def _advice_to_senders(waits, kinds, called):
    """Where all ranks that are left wait for what they have sent to be received."""
    if "isend" in kinds:
        return (
            "a rank waits for what it has sent with isend before it receives itself: .wait() "
            "belongs behind the recv, or at the end"
        )
    if not called & {*RECEIVES, "send_recv"}:
        return (
            "every rank sends first, and send waits until it is received: use send_recv, which "
            "does both at once, or isend, which does not wait"
        )
    pairs = [(rank, other) for rank, _, other in waits]
    one, two = next((pair for pair in pairs if pair[::-1] in pairs), (None, None))
    if one is None:
        return "each waits for another to take what it sends: use isend, which does not wait"
    return (
        f"rank {one} waits for rank {two} to take what it sends, while rank {two} waits for rank "
        f"{one} to take what that sends: use isend, which does not wait"
    )


def _site(path, line):
    """A line of a file as a frame shows it: the file, the function around the line, the line."""
    name = "<module>"
    try:
        with open(path, "rb") as file:
            nodes = ast.walk(ast.parse(file.read()))
        for node in nodes:  # outer ones come first
            if isinstance(node, ast.FunctionDef) and node.lineno <= line <= node.end_lineno:
                name = node.name
    except (OSError, SyntaxError, ValueError):
        pass
    return SimpleNamespace(code=SimpleNamespace(co_filename=path, co_name=name), line=line)
