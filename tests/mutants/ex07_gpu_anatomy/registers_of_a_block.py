"""the limit by the registers is not looked at, or taken as if a block needed as many as a thread"""


def occupancy(threads, registers, shared, sm):
    limits = [sm["blocks"], sm["threads"] // threads, sm["registers"] // registers]
    if shared:
        limits.append(sm["shared"] // shared)
    blocks = min(limits)
    return blocks, blocks * threads / sm["threads"]
