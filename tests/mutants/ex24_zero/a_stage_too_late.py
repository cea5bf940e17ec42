"""a stage too late: stage 1 shares out the optimizer states"""


def model_state_bytes(psi, P, stage, kappa=12):
    return {
        "weights": 2 * psi / (P if stage > 3 else 1),
        "gradients": 2 * psi / (P if stage > 2 else 1),
        "optimizer": kappa * psi / (P if stage > 1 else 1),
    }
