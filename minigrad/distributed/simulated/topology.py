"""How ranks are wired: α and β between each two of them, and which links messages share.

α is the time that the first byte takes, in seconds; β the time of each byte more, in seconds a
byte (1 / bandwidth). A message of n bytes takes α + n·β (Hockney 1994). A rank has one port out
and one port in, whatever the wiring; what else messages wait for are the links that a topology says
they share.
"""

import itertools
from dataclasses import dataclass

GB = 1e9


def _positive(kind, **values):
    for name, value in values.items():
        if not (value > 0 or (value == 0 and name.endswith("alpha"))):
            raise ValueError(f"{kind}: {name} must be positive, got {value}")


@dataclass(frozen=True)
class FullyConnected:
    """Every rank reaches every other in one step, as GPUs behind one NVSwitch do.

    Arguments: alpha in seconds; bandwidth, of each rank's port, in bytes a second.
    """

    alpha: float = 5e-6
    bandwidth: float = 300 * GB
    shared = False

    def __post_init__(self):
        _positive("FullyConnected", alpha=self.alpha, bandwidth=self.bandwidth)

    def fits(self, size):
        """Raise ValueError where this wiring has no place for ``size`` ranks."""

    def route(self, source, destination):
        """(α, β, names of the links that others use too) from one rank to another."""
        return self.alpha, 1 / self.bandwidth, ()


@dataclass(frozen=True)
class Ring:
    """Rank r is wired to r − 1 and r + 1; a message goes the shorter way round, and holds every
    link on it. Arguments: alpha of a hop in seconds; bandwidth of a link in bytes a second."""

    size: int
    alpha: float = 5e-6
    bandwidth: float = 50 * GB
    shared = True

    def __post_init__(self):
        _positive("Ring", size=self.size, alpha=self.alpha, bandwidth=self.bandwidth)

    def fits(self, size):
        if size != self.size:
            raise ValueError(f"Ring({self.size}) wires {self.size} ranks, and there are {size}")

    def route(self, source, destination):
        right = (destination - source) % self.size
        step = 1 if right <= self.size - right else -1
        hops = min(right, self.size - right)
        places = [(source + step * i) % self.size for i in range(hops + 1)]
        links = tuple(f"{a} → {b}" for a, b in itertools.pairwise(places))
        return hops * self.alpha, 1 / self.bandwidth, links


@dataclass(frozen=True)
class Nodes:
    """Nodes of ``per_node`` ranks: a fast switch inside, a slower network between.

    Rank r is in node r // per_node. Arguments: alpha and bandwidth inside a node (NVLink),
    network_alpha and network_bandwidth of each network card; cards, how many a node has: rank r
    sends and receives through card r % cards of its node. Seconds; bytes a second.
    """

    per_node: int = 8
    alpha: float = 5e-6
    bandwidth: float = 300 * GB
    network_alpha: float = 20e-6
    network_bandwidth: float = 50 * GB
    cards: int = 8

    def __post_init__(self):
        _positive(
            "Nodes",
            per_node=self.per_node,
            alpha=self.alpha,
            bandwidth=self.bandwidth,
            network_alpha=self.network_alpha,
            network_bandwidth=self.network_bandwidth,
            cards=self.cards,
        )

    @property
    def shared(self):
        """Whether messages wait for links beside their ranks' ports."""
        return self.cards < self.per_node

    def fits(self, size):
        pass

    def route(self, source, destination):
        a, b = source // self.per_node, destination // self.per_node
        if a == b:
            return self.alpha, 1 / self.bandwidth, ()
        beta = 1 / self.network_bandwidth
        if not self.shared:
            return self.network_alpha, beta, ()
        out = f"node {a} card {source % self.cards} out"
        into = f"node {b} card {destination % self.cards} in"
        return self.network_alpha, beta, (out, into)


@dataclass(frozen=True)
class FatTree:
    """Switches in two levels: ``radix`` ranks under each lower switch, and ``uplinks`` links from
    it to the upper ones (Leiserson 1985). With fewer uplinks than ranks the tree is tapered, and
    messages between switches wait for each other.

    Arguments: alpha of a hop in seconds (two hops under one switch, four across); bandwidth of each
    link in bytes a second. A message to rank d takes uplink d % uplinks.
    """

    radix: int = 8
    uplinks: int = 8
    alpha: float = 2e-6
    bandwidth: float = 50 * GB
    shared = True

    def __post_init__(self):
        _positive(
            "FatTree",
            radix=self.radix,
            uplinks=self.uplinks,
            alpha=self.alpha,
            bandwidth=self.bandwidth,
        )

    def fits(self, size):
        pass

    def route(self, source, destination):
        a, b = source // self.radix, destination // self.radix
        if a == b:
            return 2 * self.alpha, 1 / self.bandwidth, ()
        way = destination % self.uplinks
        links = f"switch {a} up {way}", f"switch {b} down {way}"
        return 4 * self.alpha, 1 / self.bandwidth, links
