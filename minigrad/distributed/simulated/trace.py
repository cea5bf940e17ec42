"""What happened when: events of all ranks, as a list and as a file for Chrome's and Perfetto's
viewer."""

import json
from typing import NamedTuple

from minigrad import files


class Event(NamedTuple):
    """What a rank did between two times, in seconds; ``kind`` is "compute", "communicate" or
    "message", ``nbytes`` what it sent meanwhile."""

    rank: int
    kind: str
    name: str
    begin: float
    end: float
    nbytes: int = 0


LANES = {"compute": 0, "communicate": 1, "message": 2}


def perfetto(events):
    """Events in the Trace Event Format: a process a rank, a thread a kind; times in µs.

    Source: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
    """
    ranks = sorted({event.rank for event in events})
    rows = [
        {"ph": "M", "name": "process_name", "pid": rank, "args": {"name": f"rank {rank}"}}
        for rank in ranks
    ]
    rows += [
        {"ph": "M", "name": "thread_name", "pid": rank, "tid": lane, "args": {"name": kind}}
        for rank in ranks
        for kind, lane in LANES.items()
    ]
    rows += [
        {
            "ph": "X",
            "name": event.name,
            "cat": event.kind,
            "pid": event.rank,
            "tid": LANES[event.kind],
            "ts": event.begin * 1e6,
            "dur": (event.end - event.begin) * 1e6,
            "args": {"bytes": event.nbytes},
        }
        for event in events
    ]
    return {"traceEvents": rows, "displayTimeUnit": "ms"}


def save(events, path):
    """Write events to a .json file that https://ui.perfetto.dev opens."""
    with files.replacing(path) as file:
        file.write(json.dumps(perfetto(events)).encode())
