"""the limit by the number of threads is not looked at"""


def occupancy(threads, registers, shared, sm):
    limits = [sm["blocks"], sm["registers"] // (threads * registers)]
    if shared:
        limits.append(sm["shared"] // shared)
    blocks = min(limits)
    return blocks, blocks * threads / sm["threads"]
