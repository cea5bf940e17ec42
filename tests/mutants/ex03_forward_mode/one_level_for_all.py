"""perturbation confusion"""

levels = itertools.repeat(1)
