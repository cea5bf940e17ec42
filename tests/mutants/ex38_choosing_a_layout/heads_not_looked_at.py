"""T need not divide the heads in it"""


def layouts(model, devices, batch):
    found = []
    for tensor in divisors(devices):
        for pipeline in divisors(devices // tensor):
            data = devices // tensor // pipeline
            if any(many % tensor for many in (model["vocabulary"], model["length"])):
                continue
            if model["layers"] % pipeline or batch % data:
                continue
            for zero in range(4 if data > 1 else 1):
                for micro_batches in divisors(batch // data):
                    found.append((data, tensor, pipeline, zero, micro_batches))
    return sorted(found)
