"""M divides the batch of a replica, batch / R, not the whole batch"""


def layouts(model, devices, batch):
    found = []
    for tensor in divisors(devices):
        for pipeline in divisors(devices // tensor):
            data = devices // tensor // pipeline
            if model["heads"] % tensor or model["layers"] % pipeline or batch % data:
                continue
            for zero in range(4 if data > 1 else 1):
                for micro_batches in divisors(batch):
                    found.append((data, tensor, pipeline, zero, micro_batches))
    return sorted(found)
