"""memory may be used up to the last byte: <=, not <"""


def first_stage_that_fits(psi, P, memory):
    for stage in range(4):
        if sum(model_state_bytes(psi, P, stage).values()) < memory:
            return stage
    return None
