"""GQA is counted with n_h / n_kv heads; it keeps n_kv of them"""


def elements_per_token(config):
    l, n_h, n_kv, H = (config[name] for name in ("l", "n_h", "n_kv", "H"))
    if config["design"] == "MLA":
        return (config["d_c"] + config["d_R"]) * l
    heads = {"MHA": n_h, "GQA": n_h // n_kv, "MQA": 1}[config["design"]]
    return 2 * heads * H * l
