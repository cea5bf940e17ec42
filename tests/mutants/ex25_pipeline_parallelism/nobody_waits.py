"""no stage waits for another"""


def finish_times(schedule, forward, backward):
    times = []
    for i, actions in enumerate(schedule):
        seconds = [(forward if kind == "F" else backward)[i] for kind, _ in actions]
        times.append([float(end) for end in np.cumsum(seconds)])
    return times
