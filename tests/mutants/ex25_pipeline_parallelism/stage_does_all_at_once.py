"""a stage does one thing at a time: it has to be done with the action before"""


def finish_times(schedule, forward, backward):
    S, done = len(schedule), {}
    for m in range(len(schedule[0]) // 2):
        now = 0.0
        for i in range(S):
            now = done["F", m, i] = now + forward[i]
        now = 0.0
        for i in reversed(range(S)):
            now = done["B", m, i] = now + backward[i]
    return [[done[kind, m, i] for kind, m in actions] for i, actions in enumerate(schedule)]
