"""a single replica has nobody to share with: Z is 0"""


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
            for zero in range(4):
                for micro_batches in divisors(batch // data):
                    found.append((data, tensor, pipeline, zero, micro_batches))
    return sorted(found)
