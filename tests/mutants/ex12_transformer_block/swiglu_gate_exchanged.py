"""W_gate and W_up are exchanged: the SiLU belongs to the gate"""


def swiglu(h, W_gate, W_up, W_down):
    u = h @ W_up
    return (u / (1 + np.exp(-u)) * (h @ W_gate)) @ W_down
