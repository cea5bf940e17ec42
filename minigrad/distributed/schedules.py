"""Schedules of pipeline parallelism, as data: for each stage, what it does, in order.

A model is cut into S·v parts. Stage i of S holds v of them, its chunks: chunk c is part c·S + i.
A batch is cut into M micro-batches; each goes forward through all parts and backward again. A
schedule is a list of S lists of Actions, and nothing more. ``pipeline.Pipeline`` runs any that
``check`` lets pass.

    gpipe         Huang et al. 2019, "GPipe"
    one_f_one_b   Narayanan et al. 2019, "PipeDream"; with one flush a step, Fan et al. 2021
    interleaved   Narayanan et al. 2021, "Efficient large-scale … training … using Megatron-LM"
    zero_bubble   Qi et al. 2024, "Zero bubble pipeline parallelism", its ZB-H1
"""

import itertools
import operator
from collections import Counter
from typing import NamedTuple

KINDS = {"F": "forward", "B": "backward", "I": "input gradient", "W": "weight gradient"}


class Action(NamedTuple):
    """What a stage does with one micro-batch and one of its chunks.

    kind: "F" forward; "B" backward; or backward in two halves: "I", the gradient of the chunk's
    input, for which the stage before waits, and "W", those of its weights, for which nobody does.
    """

    kind: str
    micro_batch: int
    chunk: int = 0

    def __str__(self):
        return f"{self.kind}{self.micro_batch}" + (f".{self.chunk}" if self.chunk else "")


def gpipe(stages, micro_batches):
    """All micro-batches forward, then all backward. Every stage holds all M for a while."""
    S, M = _counts(stages=stages, micro_batches=micro_batches)
    return [
        [Action("F", m) for m in range(M)] + [Action("B", m) for m in range(M)] for _ in range(S)
    ]


def one_f_one_b(stages, micro_batches):
    """Stage i goes S − i − 1 forward, then one forward and one backward in turn, then backward.

    It never holds more than min(S − i, M) micro-batches, and is idle no longer than with GPipe.
    """
    S, M = _counts(stages=stages, micro_batches=micro_batches)
    forward, backward = [Action("F", m) for m in range(M)], [Action("B", m) for m in range(M)]
    return [_in_turn(forward, backward, S - i - 1) for i in range(S)]


def interleaved(stages, micro_batches, chunks):
    """1F1B over v chunks a stage: more and shorter waits to fill, so v times less of them.

    Micro-batches go in groups of S: a group through chunk 0, then through chunk 1, and so on.
    Raises ValueError unless S divides M, as in Megatron, and for v > 1 on one stage alone.
    """
    S, M, v = _counts(stages=stages, micro_batches=micro_batches, chunks=chunks)
    if M % S:
        raise ValueError(
            f"interleaved: {M} micro-batches are no whole groups of {S}, one for each stage"
        )
    if S == 1 and v > 1:
        raise ValueError(f"interleaved: {v} chunks need at least 2 stages to alternate between")
    order = [(g + m, c) for g in range(0, M, S) for c in range(v) for m in range(S)]
    forward = [Action("F", m, c) for m, c in order]
    backward = [Action("B", m, v - 1 - c) for m, c in order]
    return [_in_turn(forward, backward, 2 * (S - i - 1) + (v - 1) * S) for i in range(S)]


def zero_bubble(stages, micro_batches):
    """ZB-H1: 1F1B with backward in halves. Stage i puts off i weight gradients, and fills with
    them the time in which 1F1B waits for gradients; it never holds more than S micro-batches."""
    S, M = _counts(stages=stages, micro_batches=micro_batches)
    forward, back = [Action("F", m) for m in range(M)], [Action("I", m) for m in range(M)]
    schedule = []
    for i in range(S):
        actions, done = [], 0
        for action in _in_turn(forward, back, S - i - 1):
            actions.append(action)
            if action.kind == "I" and action.micro_batch >= i:
                actions.append(Action("W", done))
                done += 1
        schedule.append(actions + [Action("W", m) for m in range(done, M)])
    return schedule


def _in_turn(forward, backward, warmup):
    """So many forward; then one forward, one backward, while there are any; then the rest."""
    warmup = min(warmup, len(forward))
    turns = len(forward) - warmup
    pairs = [each for pair in zip(forward[warmup:], backward) for each in pair]
    return forward[:warmup] + pairs + backward[turns:]


def _counts(**given):
    """The given numbers as ints. Raises ValueError for one below 1."""
    for name, value in given.items():
        if operator.index(value) < 1:
            raise ValueError(f"schedule: {name} is {value}; expected at least 1")
    return [operator.index(value) for value in given.values()]


def size(schedule):
    """(S, M, v) of a schedule: stages, micro-batches, chunks a stage."""
    actions = [action for actions in schedule for action in actions]
    if not actions:
        raise ValueError("schedule: it holds no action")
    most = [1 + max(getattr(a, name) for a in actions) for name in ("micro_batch", "chunk")]
    return len(schedule), *most


def needs(action, stage, S, v):
    """(what, micro-batch, part) that has to come from the stage before or after: the "activation"
    of the part before, or the "gradient" from the part after; None if nothing has to come."""
    kind, m, c = action
    part = c * S + stage
    if kind == "F":
        return ("activation", m, part - 1) if part > 0 else None
    return ("gradient", m, part + 1) if kind in "BI" and part < S * v - 1 else None


def sends(action, stage, S, v):
    """(what, micro-batch, part) that goes to the stage after or before; None if nothing does."""
    kind, m, c = action
    part = c * S + stage
    if kind == "F":
        return ("activation", m, part) if part < S * v - 1 else None
    return ("gradient", m, part) if kind in "BI" and part > 0 else None


def receiver(message, S):
    """The stage that a message goes to."""
    what, _, part = message
    return (part + (1 if what == "activation" else -1)) % S


def taken(schedule, stage):
    """{message that comes to a stage: [messages it sent that had been received before that one was
    sent]}: what the stage need not keep any longer, once that message is there."""
    S, _, v = size(schedule)
    found = {}
    for other in {(stage - 1) % S, (stage + 1) % S} - {stage}:
        received = []
        for action in schedule[other]:
            needed, sent = needs(action, other, S, v), sends(action, other, S, v)
            if needed is not None and needed[2] % S == stage:
                received.append(needed)
            if sent is not None and receiver(sent, S) == stage:
                found[sent], received = received, []
    return found


def check(schedule):
    """Raise ValueError unless every stage does all it has to, and nobody waits for ever.

    For each micro-batch and chunk: one F, and after it one B, or one I and then one W. No circle of
    stages that wait for each other. And what one stage sends to another is needed there in the
    order in which it was sent, so that messages need no names.
    """
    S, M, v = size(schedule)
    if S == 1 and v > 1:
        raise ValueError(f"schedule: {v} chunks need at least 2 stages to alternate between")
    for stage, actions in enumerate(schedule):
        _check_complete(stage, actions, M, v)
    _check_ends(schedule, S, v)
    for stage, actions in enumerate(schedule):
        for source in {(stage - 1) % S, (stage + 1) % S} - {stage}:
            sent = [sends(action, source, S, v) for action in schedule[source]]
            sent = [message for message in sent if message and receiver(message, S) == stage]
            needed = [needs(action, stage, S, v) for action in actions]
            needed = [message for message in needed if message and message[2] % S == source]
            if sent != needed:
                a, b = next((a, b) for a, b in zip(sent, needed) if a != b)
                raise ValueError(
                    f"schedule: stage {source} sends {_told(a)} where stage {stage} needs "
                    f"{_told(b)}"
                )


def _told(message):
    return "the {} of micro-batch {} from part {}".format(*message)


def _check_complete(stage, actions, M, v):
    """Every action once, forward before backward."""
    seen = Counter()
    for action in actions:
        kind, m, c = action
        if kind not in KINDS or m < 0 or c < 0:
            raise ValueError(f"schedule: stage {stage} has the unknown action {tuple(action)}")
        needed = {"B": "F", "I": "F", "W": "I"}.get(kind)
        if needed and not seen[needed, m, c]:
            raise ValueError(f"schedule: stage {stage} does {action} before {Action(needed, m, c)}")
        seen[kind, m, c] += 1
    for m, c in itertools.product(range(M), range(v)):
        counts = {kind: seen[kind, m, c] for kind in KINDS if seen[kind, m, c]}
        if counts not in ({"F": 1, "B": 1}, {"F": 1, "I": 1, "W": 1}):
            raise ValueError(
                f"schedule: stage {stage} does {counts or 'nothing'} for micro-batch {m} of chunk "
                f"{c}; expected one F, and one B or one I and one W"
            )


def _check_ends(schedule, S, v):
    """Let every stage go on as long as one can."""
    sent, at, before = {None}, [0] * S, None
    while at != before:
        before = list(at)
        for stage, actions in enumerate(schedule):
            while at[stage] < len(actions) and needs(actions[at[stage]], stage, S, v) in sent:
                sent.add(sends(actions[at[stage]], stage, S, v))
                at[stage] += 1
    stuck = [stage for stage in range(S) if at[stage] < len(schedule[stage])]
    told = []
    for stage in stuck:
        action = schedule[stage][at[stage]]
        told.append(f"stage {stage} at {action} waits for {_told(needs(action, stage, S, v))}")
    if told:
        raise ValueError(f"schedule: nobody can go on; {'; '.join(told)}")
