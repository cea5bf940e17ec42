"""the values are not sorted first"""


def percentile(values, q):
    place = q / 100 * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    share = place - below
    return float((1 - share) * values[below] + share * values[above])
