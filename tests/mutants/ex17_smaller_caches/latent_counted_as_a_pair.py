"""MLA is counted as 2 d_c; it keeps one latent, and the turned key part beside it"""


def elements_per_token(config):
    if config["design"] == "MLA":
        return 2 * config["d_c"] * config["l"]
    heads = {"MHA": config["n_h"], "GQA": config["n_kv"], "MQA": 1}[config["design"]]
    return 2 * heads * config["H"] * config["l"]
