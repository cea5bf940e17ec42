"""2 rounds over all stages are too few"""


def finish_times(schedule, forward, backward):
    done = {}
    for _ in range(2):
        times = []
        for i, actions in enumerate(schedule):
            now, ends = 0.0, []
            for kind, m in actions:
                other = i - 1 if kind == "F" else i + 1
                now = max(now, done.get((kind, m, other), 0.0))
                now += (forward if kind == "F" else backward)[i]
                done[kind, m, i] = now
                ends.append(now)
            times.append(ends)
    return times
