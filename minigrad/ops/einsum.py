"""Einstein notation: name the axes, and say which names survive.

``einsum("bij,bjk->bik", x, y)`` multiplies everything over all letters and sums over those that the
output lacks. Three or more operands are contracted two at a time, in the order that costs least;
each pair becomes one batched matrix product.
"""

import itertools
import math
import string

import numpy as np

from minigrad import backend
from minigrad.engine import primitive
from minigrad.ops.shape import broadcast_to, reshape


def einsum(subscripts, *operands):
    """Sum of products over named axes, for any number of operands.

    Letters name axes, ``...`` stands for leading axes that broadcast, a letter repeated within one
    operand takes its diagonal, and without ``->`` the output has the letters that occur once, in
    alphabetical order, as in NumPy. Raises ValueError naming the letter and the sizes that clash.
    """
    terms, output = parse(subscripts, [np.shape(x) for x in operands])
    work = list(zip(terms, operands))
    for i, j in contraction_order(terms, [np.shape(x) for x in operands], output):
        (a, x), (b, y) = work[i], work[j]
        work = [each for k, each in enumerate(work) if k not in (i, j)]
        wanted = set(output).union(*(term for term, _ in work))
        kept = "".join(dict.fromkeys(c for c in a + b if c in wanted))
        if not work:
            kept = output
        work.append((kept, _einsum(x, y, subscripts=f"{a},{b}->{kept}")))
    term, x = work[0]
    return x if term == output and operands[1:] else _einsum(x, subscripts=f"{term}->{output}")


def parse(subscripts, shapes):
    """The operands' letters and the output's, ellipses spelled out as letters of their own.

    Raises ValueError for a wrong count of operands or letters, unknown characters, output letters
    that no operand has, and sizes that disagree.
    """
    if not isinstance(subscripts, str):
        raise TypeError(
            f"einsum: subscripts are a {type(subscripts).__name__}; expected a str first"
        )
    text = subscripts.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(shapes):
        raise ValueError(
            f'einsum: "{subscripts}" names {len(terms)} operands, but {len(shapes)} were given'
        )
    for term in (*terms, output):
        letters = term.replace("...", "", 1)
        if bad := [c for c in letters if c not in string.ascii_letters]:
            raise ValueError(
                f'einsum: unexpected {bad[0]!r} in "{subscripts}"; use letters and ...'
            )
    free = [c for c in string.ascii_letters if c not in text]
    named = [len(term.replace("...", "")) for term in terms]
    hidden = [len(s) - n if "..." in t else 0 for t, s, n in zip(terms, shapes, named)]
    dots = "".join(free[: max(hidden, default=0)])
    for k, (term, shape) in enumerate(zip(terms, shapes)):
        if hidden[k] < 0 or ("..." not in term and named[k] != len(shape)):
            raise ValueError(
                f'einsum: "{term}" names {named[k]} axes, but operand {k} has shape {tuple(shape)}'
            )
        terms[k] = term.replace("...", dots[len(dots) - hidden[k] :])
    if not arrow:
        joined = "".join(terms)
        output = dots + "".join(sorted(c for c in set(joined) - set(dots) if joined.count(c) == 1))
    output = output.replace("...", dots)
    if len(set(output)) != len(output):
        raise ValueError(f'einsum: a letter stands twice in the output of "{subscripts}"')
    if lost := [c for c in output if not any(c in term for term in terms)]:
        raise ValueError(f'einsum: output letter {lost[0]!r} of "{subscripts}" is in no operand')
    sizes(terms, shapes, dots)
    return terms, output


def sizes(terms, shapes, broadcasting=string.ascii_letters):
    """The size of each letter; 1 beside another size is allowed for letters of the ellipsis."""
    found = {}
    for k, (term, shape) in enumerate(zip(terms, shapes)):
        for letter, size in zip(term, shape):
            known = found.setdefault(letter, size)
            if known != size and not (letter in broadcasting and 1 in (known, size)):
                raise ValueError(
                    f"einsum: {letter!r} has size {known} and, in operand {k} of shape "
                    f"{tuple(shape)}, size {size}"
                )
            if known == 1:
                found[letter] = size
    return found


def contraction_order(terms, shapes, output):
    """Pairs of positions to contract, cheapest total first: [(i, j), ...], the product of each pair
    going to the end of the list. Exhaustive up to 5 operands, then greedy by cost of the next."""
    size = sizes(terms, shapes)

    def after(remaining, i, j):
        rest = [t for k, t in enumerate(remaining) if k not in (i, j)]
        wanted = set(output).union(*rest)
        letters = dict.fromkeys(remaining[i] + remaining[j])
        cost = math.prod(size[c] for c in letters)
        return [*rest, "".join(c for c in letters if c in wanted)], cost

    def cheapest(remaining):
        if len(remaining) == 1:
            return 0, []
        best = None
        for i, j in itertools.combinations(range(len(remaining)), 2):
            rest, cost = after(remaining, i, j)
            if best is None or cost < best[0]:
                more, path = cheapest(rest) if len(remaining) <= 5 else (0, None)
                if best is None or cost + more < best[0]:
                    best = cost + more, path, (i, j), rest
        cost, path, pair, rest = best
        return cost, [pair, *(cheapest(rest)[1] if path is None else path)]

    return cheapest(list(terms))[1]


def contraction_cost(subscripts, *shapes):
    """Multiplications needed: (all at once, in the chosen order, the order)."""
    terms, output = parse(subscripts, shapes)
    size = sizes(terms, shapes)
    path, remaining, total = contraction_order(terms, shapes, output), list(terms), 0
    for i, j in path:
        pair = dict.fromkeys(remaining[i] + remaining[j])
        total += math.prod(size[c] for c in pair)
        rest = [t for k, t in enumerate(remaining) if k not in (i, j)]
        wanted = set(output).union(*rest)
        remaining = [*rest, "".join(c for c in pair if c in wanted)]
    return math.prod(size.values()), total or math.prod(size.values()), path


@primitive
def _einsum(*operands, subscripts):
    inputs, _, output = subscripts.partition("->")
    terms = inputs.split(",")
    singles = [_diagonals(term, x) for term, x in zip(terms, operands)]
    if len(singles) == 1:
        return _sum_single(*singles[0], output)
    return _pair(*singles[0], *singles[1], output)


def _diagonals(term, x):
    """Repeated letters within one operand: only the elements where their indices agree."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            i = term.index(letter)
            j = term.index(letter, i + 1)
            x = np.diagonal(x, axis1=i, axis2=j)
            term = term[:i] + term[i + 1 : j] + term[j + 1 :] + letter
    return term, x


def _sum_single(term, x, output):
    gone = tuple(i for i, c in enumerate(term) if c not in output)
    if gone:
        wide = backend.accumulator(x.dtype)
        x = np.sum(x, axis=gone, dtype=wide).astype(x.dtype, copy=False)
        term = "".join(c for c in term if c in output)
    return np.transpose(x, [term.index(c) for c in output])


def _pair(a, x, b, y, output):
    """One batched product: shared letters are batch if the output has them, else summed."""
    x, a = _sum_lonely(a, x, b + output)
    y, b = _sum_lonely(b, y, a + output)
    size = sizes([a, b], [x.shape, y.shape])
    batch = [c for c in a if c in b and c in output]
    summed = [c for c in a if c in b and c not in output]
    rows = [c for c in a if c not in b]
    columns = [c for c in b if c not in a]
    x = np.transpose(x, [a.index(c) for c in batch + rows + summed])
    y = np.transpose(y, [b.index(c) for c in batch + summed + columns])
    x = _stretch(x, [size[c] for c in batch + rows], [size[c] for c in summed], front=False)
    y = _stretch(y, [size[c] for c in columns], [size[c] for c in batch + summed], front=True)
    n, k, m = (math.prod(size[c] for c in group) for group in (rows, summed, columns))
    lead = [size[c] for c in batch]
    out = backend.matmul(x.reshape(*lead, n, k), y.reshape(*lead, k, m))
    have = batch + rows + columns
    out = out.reshape([size[c] for c in have])
    return np.transpose(out, [have.index(c) for c in output])


def _stretch(x, own, shared, front):
    shape = tuple(shared + own) if front else tuple(own + shared)
    return x if x.shape == shape else np.broadcast_to(x, shape)


def _sum_lonely(term, x, elsewhere):
    """Sum at once over letters that nothing else needs."""
    kept = "".join(c for c in term if c in elsewhere)
    return (x, term) if kept == term else (_sum_single(term, x, kept), kept)


def _einsum_vjp(g, operands, subscripts, needs):
    inputs, _, output = subscripts.partition("->")
    terms = inputs.split(",")
    cotangents = []
    for k, (term, x, need) in enumerate(zip(terms, operands, needs)):
        if not need:
            cotangents.append(None)
            continue
        others = [(t, y) for i, (t, y) in enumerate(zip(terms, operands)) if i != k]
        cotangents.append(_einsum_transpose(g, output, others, term, x.shape))
    return cotangents


def _einsum_transpose(g, output, others, term, shape):
    """The cotangent of one operand: the same contraction with ``g`` in the operand's place."""
    available = output + "".join(t for t, _ in others)
    letters = "".join(dict.fromkeys(term))
    known = "".join(c for c in letters if c in available)
    left = ",".join([output, *(t for t, _ in others)])
    g = _einsum(g, *(y for _, y in others), subscripts=f"{left}->{known}")
    size = dict(zip(term, shape))
    if known != letters:  # letters summed over in this operand alone: every index gets the same
        sizes_now = dict(zip(known, g.shape))
        g = reshape(g, [sizes_now.get(c, 1) for c in letters])
        g = broadcast_to(g, [sizes_now.get(c, size[c]) for c in letters])
    if letters == term:
        return g
    return _on_diagonal(g, letters=letters, term=term)


@primitive
def _on_diagonal(g, /, letters, term):
    size = dict(zip(letters, g.shape))
    out = backend.zeros([size[c] for c in term], g)
    view = np.einsum(f"{term}->{letters}", out)
    view[...] = g
    return out


_on_diagonal.vjp(lambda g, letters, term: _einsum(g, subscripts=f"{term}->{letters}"))
_on_diagonal.multilinear()

_einsum.vjp_all(_einsum_vjp)
_einsum.multilinear()
