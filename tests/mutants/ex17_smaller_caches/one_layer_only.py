"""only one layer is counted; each of the l layers keeps its own"""


def elements_per_token(config):
    n_h, n_kv, H = (config[name] for name in ("n_h", "n_kv", "H"))
    if config["design"] == "MLA":
        return config["d_c"] + config["d_R"]
    heads = {"MHA": n_h, "GQA": n_kv, "MQA": 1}[config["design"]]
    return 2 * heads * H
