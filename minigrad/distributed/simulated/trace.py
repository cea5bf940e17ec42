"""What happened when: events of all ranks, as a list and as a file for Chrome's and Perfetto's
viewer."""

import json
from typing import NamedTuple

from minigrad import files


class Event(NamedTuple):
    """What a rank did between two times, in seconds; ``kind`` is "compute" or "communicate",
    ``nbytes`` what the call sent."""

    rank: int
    kind: str
    name: str
    begin: float
    end: float
    nbytes: int = 0


def in_lanes(events):
    """[(event, lane)]: events of one kind on one rank that overlap are in lanes 0, 1, …"""
    placed, until = [], {}
    for event in sorted(events, key=lambda event: event.begin):
        ends = until.setdefault((event.rank, event.kind), [])
        lane = next((i for i, end in enumerate(ends) if end <= event.begin), len(ends))
        ends[lane : lane + 1] = [event.end]
        placed.append((event, lane))
    return placed


def perfetto(events):
    """Events in the Trace Event Format: a process a rank, a thread a kind (more where they overlap,
    which a thread's spans must not); times in µs.

    Source: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
    """
    placed = in_lanes(events)
    threads = sorted({(event.kind != "compute", event.kind, lane) for event, lane in placed})
    number = {(kind, lane): i for i, (_, kind, lane) in enumerate(threads)}
    rows = []
    for rank in sorted({event.rank for event in events}):
        rows.append(_named("process_name", f"rank {rank}", pid=rank))
        rows += [
            _named("thread_name", kind, pid=rank, tid=number[kind, lane]) for kind, lane in number
        ]
    rows += [
        {
            "ph": "X",
            "name": event.name,
            "cat": event.kind,
            "pid": event.rank,
            "tid": number[event.kind, lane],
            "ts": event.begin * 1e6,
            "dur": (event.end - event.begin) * 1e6,
            "args": {"bytes": event.nbytes},
        }
        for event, lane in placed
    ]
    return {"traceEvents": rows, "displayTimeUnit": "ms"}


def _named(what, name, **which):
    return {"ph": "M", "name": what, **which, "args": {"name": name}}


def save(events, path):
    """Write events to a .json file that https://ui.perfetto.dev opens."""
    with files.replacing(path) as file:
        file.write(json.dumps(perfetto(events)).encode())
