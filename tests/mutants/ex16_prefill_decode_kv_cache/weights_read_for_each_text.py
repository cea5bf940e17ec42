"""the weights are read once for all texts, not once for each"""


def linear_cost(B, new, d_in, d_out, itemsize):
    numbers = B * (new * d_in + d_in * d_out + new * d_out)
    return 2 * B * new * d_in * d_out, itemsize * numbers
