"""after the forward passes ahead, each pair is a forward pass first"""


def one_f_one_b(S, M):
    schedule = []
    for i in range(S):
        ahead = min(S - i - 1, M)
        actions = [("F", m) for m in range(ahead)]
        for m in range(M - ahead):
            actions += [("B", m), ("F", m + ahead)]
        schedule.append(actions + [("B", m) for m in range(M - ahead, M)])
    return schedule
