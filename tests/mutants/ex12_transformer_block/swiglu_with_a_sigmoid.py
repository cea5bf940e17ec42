"""the gate is σ(u), not SiLU(u) = u · σ(u)"""


def swiglu(h, W_gate, W_up, W_down):
    return ((h @ W_up) / (1 + np.exp(-(h @ W_gate)))) @ W_down
