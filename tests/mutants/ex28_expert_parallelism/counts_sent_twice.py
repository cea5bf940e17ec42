"""something is exchanged that is not needed, or exchanged twice"""

_send_once = send_to_experts


def send_to_experts(comm, rows, counts):
    comm.all_to_all(counts)
    return _send_once(comm, rows, counts)
