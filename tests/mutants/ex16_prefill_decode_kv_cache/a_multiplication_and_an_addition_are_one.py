"""a multiplication and an addition are 2 FLOP, not 1"""


def linear_cost(B, new, d_in, d_out, itemsize):
    rows = B * new
    return rows * d_in * d_out, itemsize * (rows * d_in + d_in * d_out + rows * d_out)
