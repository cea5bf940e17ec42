"""there are only M micro-batches to go ahead with, and no micro-batch −1"""


def one_f_one_b(S, M):
    schedule = []
    for i in range(S):
        ahead = S - i - 1
        actions = [("F", m) for m in range(ahead)]
        for m in range(M - ahead):
            actions += [("F", m + ahead), ("B", m)]
        schedule.append(actions + [("B", m) for m in range(M - ahead, M)])
    return schedule
