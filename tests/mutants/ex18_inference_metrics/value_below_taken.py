"""the value below is taken, with no way towards the next"""


def percentile(values, q):
    return float(np.sort(values)[int(q / 100 * (len(values) - 1))])
