"""the highest stage is taken, not the lowest that fits"""


def first_stage_that_fits(psi, P, memory):
    for stage in reversed(range(4)):
        if sum(model_state_bytes(psi, P, stage).values()) <= memory:
            return stage
    return None
