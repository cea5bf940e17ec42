"""MQA is counted with n_kv heads; it keeps one"""


def elements_per_token(config):
    if config["design"] == "MLA":
        return (config["d_c"] + config["d_R"]) * config["l"]
    heads = config["n_h"] if config["design"] == "MHA" else config["n_kv"]
    return 2 * heads * config["H"] * config["l"]
