"""the limit by the shared memory is not looked at"""


def occupancy(threads, registers, shared, sm):
    limits = [sm["blocks"], sm["threads"] // threads, sm["registers"] // (threads * registers)]
    blocks = min(limits)
    return blocks, blocks * threads / sm["threads"]
