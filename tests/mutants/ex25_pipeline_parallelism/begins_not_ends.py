"""that is when each action begins, not when it is done"""

_finish_times = finish_times


def finish_times(schedule, forward, backward):
    times = _finish_times(schedule, forward, backward)
    return [
        [end - (forward if kind == "F" else backward)[i] for end, (kind, _) in zip(ends, actions)]
        for i, (ends, actions) in enumerate(zip(times, schedule))
    ]
