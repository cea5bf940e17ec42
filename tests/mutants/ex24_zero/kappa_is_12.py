"""kappa is taken as 12, whatever it is"""


def model_state_bytes(psi, P, stage, kappa=12):
    return {
        "weights": 2 * psi / (P if stage >= 3 else 1),
        "gradients": 2 * psi / (P if stage >= 2 else 1),
        "optimizer": 12 * psi / (P if stage >= 1 else 1),
    }
