"""the shares of the value below and of the one above are swapped"""


def percentile(values, q):
    ordered = np.sort(values)
    place = q / 100 * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    share = place - below if place > below else 1.0
    above = above if place > below else below
    return float(share * ordered[below] + (1 - share) * ordered[above])
