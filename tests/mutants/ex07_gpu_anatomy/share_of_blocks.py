"""the share is that of the blocks, not of the threads"""


def occupancy(threads, registers, shared, sm):
    limits = [sm["blocks"], sm["threads"] // threads, sm["registers"] // (threads * registers)]
    if shared:
        limits.append(sm["shared"] // shared)
    blocks = min(limits)
    return blocks, blocks / sm["blocks"]
