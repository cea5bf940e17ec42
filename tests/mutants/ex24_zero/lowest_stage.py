"""the lowest stage is taken, whether it fits or not"""


def first_stage_that_fits(psi, P, memory):
    return 0
