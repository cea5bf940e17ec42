"""B needs the stage AFTER, which a loop over the stages has not reached"""


def finish_times(schedule, forward, backward):
    S, done = len(schedule), {}
    times = []
    for i, actions in enumerate(schedule):
        now, ends = 0.0, []
        for kind, m in actions:
            other = i - 1 if kind == "F" else i + 1
            if 0 <= other < S:
                now = max(now, done[kind, m, other])
            now += (forward if kind == "F" else backward)[i]
            done[kind, m, i] = now
            ends.append(now)
        times.append(ends)
    return times
