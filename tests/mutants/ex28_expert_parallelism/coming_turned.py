"""coming is (P, E/P), a row for each rank that sends: it has been turned"""

_send_to_my_experts = send_to_experts


def send_to_experts(comm, rows, counts):
    arrived, coming = _send_to_my_experts(comm, rows, counts)
    return arrived, coming.reshape(-1, comm.size).T.copy()
