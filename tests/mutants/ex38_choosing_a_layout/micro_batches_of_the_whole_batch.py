"""M divides the batch of a replica, batch / R, not the whole batch"""


def layouts(model, devices, batch):
    found = []
    for tensor in divisors(devices):
        for pipeline in divisors(devices // tensor):
            data = devices // tensor // pipeline
            shared = model["heads"], model["vocabulary"], model["length"]
            if any(many % tensor for many in shared):
                continue
            if model["layers"] % pipeline or batch % data:
                continue
            for zero in range(4 if data > 1 else 1):
                for micro_batches in divisors(batch):
                    found.append((data, tensor, pipeline, zero, micro_batches))
    return sorted(found)
