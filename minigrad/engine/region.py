"""Checkpointed regions: calls that drop what they save and can be run again for it."""

from minigrad import backend
from minigrad.engine.state import _state, new_level, state


class Region:
    """A stretch of calls whose nodes drop what they save; ``recompute`` runs them again for it.

    ``run`` is called once to record and once more per walk that needs the values. It must make the
    same calls each time, so it draws its random numbers from the state that it first had.
    """

    def __init__(self, run, random_state):
        self.run = run
        self.random_state = random_state
        self.surroundings = _state.get()
        self.level = new_level()
        self.nodes = []

    def record(self):
        with state(region=self):
            return self.run()

    def enter(self, node, level):
        """Drop what a new node saved, unless its level began in here and so is walked in here."""
        if level < self.level:
            node.env = self
            self.nodes.append(node)

    def recompute(self):
        """Give every node of the region its values back."""
        again = _Replay()
        token = _state.set(self.surroundings._replace(region=again))
        try:
            with backend.replayed_random_state(self.random_state):
                self.run()
        finally:
            _state.reset(token)
        if [n.op for n in again.nodes] != [n.op for n in self.nodes]:
            raise RuntimeError(
                "checkpoint: the function made other calls when it was run again; it must "
                "depend on its arguments alone"
            )
        for node, fresh in zip(self.nodes, again.nodes):
            if node.env is self:
                node.env = fresh.env


class _Replay:
    """Collects the nodes of a second run."""

    def __init__(self):
        self.level = new_level()
        self.nodes = []

    def enter(self, node, level):
        if level < self.level:
            self.nodes.append(node)
