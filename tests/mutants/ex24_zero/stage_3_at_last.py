"""stage 3 is taken where it does not fit: None"""


def first_stage_that_fits(psi, P, memory):
    for stage in range(3):
        if sum(model_state_bytes(psi, P, stage).values()) <= memory:
            return stage
    return 3
