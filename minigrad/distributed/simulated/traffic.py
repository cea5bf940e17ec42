"""Which bytes went where."""

from collections import Counter
from typing import NamedTuple


class Flow(NamedTuple):
    """What one rank sent another in one kind of call of one phase."""

    phase: str
    collective: str
    source: int
    destination: int
    bytes: int
    messages: int


class Traffic:
    """All messages of a run, summed. ``flows`` is the list of Flows; the methods add them up, each
    over those that fit what is asked for: phase, collective, source or destination."""

    def __init__(self, counts, size, topology):
        self.topology, self.size = topology, size
        self.flows = [
            Flow(phase, collective, *divmod(pair, size), *count)
            for (phase, collective), pairs in counts.items()
            for pair, count in pairs.items()
        ]

    def _fitting(self, wanted):
        return [f for f in self.flows if all(getattr(f, k) == v for k, v in wanted.items())]

    def bytes(self, **wanted):
        """Bytes sent: all of them, or ``bytes(source=3, collective="all_reduce")``."""
        return sum(flow.bytes for flow in self._fitting(wanted))

    def messages(self, **wanted):
        """How many messages were sent."""
        return sum(flow.messages for flow in self._fitting(wanted))

    def sent(self, **wanted):
        """[bytes that each rank sent]."""
        totals = Counter()
        for flow in self._fitting(wanted):
            totals[flow.source] += flow.bytes
        return [totals[rank] for rank in range(self.size)]

    def received(self, **wanted):
        """[bytes that each rank received]."""
        totals = Counter()
        for flow in self._fitting(wanted):
            totals[flow.destination] += flow.bytes
        return [totals[rank] for rank in range(self.size)]

    def links(self, **wanted):
        """{name of a link: (bytes, messages)}: the ports "0 out" and "0 in" of every rank, and the
        links that the topology says messages share."""
        totals = {}
        for flow in self._fitting(wanted):
            _, _, shared = self.topology.route(flow.source, flow.destination)
            for link in (f"{flow.source} out", *shared, f"{flow.destination} in"):
                before = totals.get(link, (0, 0))
                totals[link] = before[0] + flow.bytes, before[1] + flow.messages
        return totals

    def __repr__(self):
        kinds = sorted({(flow.phase, flow.collective) for flow in self.flows})
        lines = [f"{'phase':<14} {'call':<16} {'bytes':>16} {'messages':>10}"]
        for phase, collective in kinds:
            wanted = dict(phase=phase, collective=collective)
            row = f"{self.bytes(**wanted):>16,} {self.messages(**wanted):>10,}"
            lines.append(f"{phase:<14} {collective:<16} {row}")
        return "\n".join(lines)
