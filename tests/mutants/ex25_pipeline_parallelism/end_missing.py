"""the backward passes at the end are missing"""


def one_f_one_b(S, M):
    schedule = []
    for i in range(S):
        ahead = min(S - i - 1, M)
        actions = [("F", m) for m in range(ahead)]
        for m in range(M - ahead):
            actions += [("F", m + ahead), ("B", m)]
        schedule.append(actions)
    return schedule
