"""several layers are sent as one, and there is no room for them"""


def reduce_layers(comm, gradients, held):
    rows = np.concatenate([g.reshape(comm.size, -1) for g in gradients], axis=1)
    own = comm.reduce_scatter(rows.reshape(-1), op="mean")
    cuts = np.cumsum([len(h) for h in held])[:-1]
    return [h + part for h, part in zip(held, np.split(own, cuts))]
