"""the backward pass of a pair is that of the oldest micro-batch"""


def one_f_one_b(S, M):
    schedule = []
    for i in range(S):
        ahead = min(S - i - 1, M)
        actions = [("F", m) for m in range(ahead)]
        for m in range(M - ahead):
            actions += [("F", m + ahead), ("B", m + ahead)]
        schedule.append(actions + [("B", m) for m in range(M - ahead, M)])
    return schedule
