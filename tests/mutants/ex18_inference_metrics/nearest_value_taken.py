"""the nearest value is taken; the percentile lies between two"""


def percentile(values, q):
    return float(np.sort(values)[int(q / 100 * (len(values) - 1) + 0.5)])
