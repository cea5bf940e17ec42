"""MLA is counted for every head; all heads share one latent"""


def elements_per_token(config):
    l, n_h, n_kv, H = (config[name] for name in ("l", "n_h", "n_kv", "H"))
    if config["design"] == "MLA":
        return (config["d_c"] + config["d_R"]) * l * n_h
    heads = {"MHA": n_h, "GQA": n_kv, "MQA": 1}[config["design"]]
    return 2 * heads * H * l
