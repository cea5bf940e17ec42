"""half is missing: there are two pairs, two ways, and an AllReduce is two halves"""


def sent_bytes(nbytes, P, kind):
    half = (P - 1) / P * nbytes
    if kind == "tensor":
        return {"all_reduce": 4 * half, "all_gather": 0.0, "reduce_scatter": 0.0}
    gathers = 4 if kind == "gathered again" else 2
    return {"all_reduce": 0.0, "all_gather": gathers * half, "reduce_scatter": 2 * half}
