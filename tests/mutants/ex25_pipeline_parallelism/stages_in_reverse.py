"""stage 0 is first, and goes furthest ahead; the last stage goes 0 ahead"""


def one_f_one_b(S, M):
    schedule = []
    for i in range(S):
        ahead = min(i, M)
        actions = [("F", m) for m in range(ahead)]
        for m in range(M - ahead):
            actions += [("F", m + ahead), ("B", m)]
        schedule.append(actions + [("B", m) for m in range(M - ahead, M)])
    return schedule
