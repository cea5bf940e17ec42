"""memory is that of one rank, not of all P together"""


def first_stage_that_fits(psi, P, memory):
    for stage in range(4):
        if sum(model_state_bytes(psi, P, stage).values()) <= memory * P:
            return stage
    return None
