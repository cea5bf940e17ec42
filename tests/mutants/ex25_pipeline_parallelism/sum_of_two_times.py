"""an action begins at the later of two times, not at their sum"""


def finish_times(schedule, forward, backward):
    S, done = len(schedule), {}
    times = [[] for _ in schedule]
    while any(len(times[i]) < len(schedule[i]) for i in range(S)):
        for i, actions in enumerate(schedule):
            for kind, m in actions[len(times[i]) :]:
                other = i - 1 if kind == "F" else i + 1
                if 0 <= other < S and (kind, m, other) not in done:
                    break
                begin = (times[i][-1] if times[i] else 0.0) + done.get((kind, m, other), 0.0)
                done[kind, m, i] = begin + (forward if kind == "F" else backward)[i]
                times[i].append(done[kind, m, i])
    return times
