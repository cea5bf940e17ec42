"""B needs the gradient of the stage after, not of the one before"""


def finish_times(schedule, forward, backward):
    S, done = len(schedule), {}
    times = [[] for _ in schedule]
    while any(len(times[i]) < len(schedule[i]) for i in range(S)):
        for i, actions in enumerate(schedule):
            for kind, m in actions[len(times[i]) :]:
                other = i - 1
                if 0 <= other < S and (kind, m, other) not in done:
                    break
                begin = max(times[i][-1] if times[i] else 0.0, done.get((kind, m, other), 0.0))
                done[kind, m, i] = begin + (forward if kind == "F" else backward)[i]
                times[i].append(done[kind, m, i])
    return times
