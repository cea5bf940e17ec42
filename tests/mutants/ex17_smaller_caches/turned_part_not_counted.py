"""only the latent of MLA is counted; the turned key part is kept as well"""


def elements_per_token(config):
    l, n_h, n_kv, H = (config[name] for name in ("l", "n_h", "n_kv", "H"))
    if config["design"] == "MLA":
        return config["d_c"] * l
    heads = {"MHA": n_h, "GQA": n_kv, "MQA": 1}[config["design"]]
    return 2 * heads * H * l
