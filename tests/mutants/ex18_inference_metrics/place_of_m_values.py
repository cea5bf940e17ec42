"""the place is counted in m values, but the last of them has the place m − 1"""


def percentile(values, q):
    ordered = np.sort(values)
    place = min(q / 100 * len(ordered), len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    share = place - below
    return float((1 - share) * ordered[below] + share * ordered[above])
