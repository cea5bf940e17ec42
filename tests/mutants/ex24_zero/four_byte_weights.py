"""weights and gradients have 2 bytes a parameter, not 4"""


def model_state_bytes(psi, P, stage, kappa=12):
    return {
        "weights": 4 * psi / (P if stage >= 3 else 1),
        "gradients": 4 * psi / (P if stage >= 2 else 1),
        "optimizer": kappa * psi / (P if stage >= 1 else 1),
    }
