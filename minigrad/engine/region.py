"""Checkpointed regions: calls that drop what they save and can be run again for it."""

import weakref

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
        self.surroundings = _state.get()._replace(region=None)
        self.level = new_level()
        self.ops = []
        self.nodes = []  # weak references: the nodes hold the region

    def record(self):
        with state(region=self):
            return self.run()

    def enter(self, node, level):
        """Drop what a new node saved, unless its level began in here and so is walked in here."""
        if level < self.level:
            node.env = self
            self.ops.append(node.op)
            self.nodes.append(weakref.ref(node))

    def recompute(self):
        """Give every node of the region its values back."""
        again = _Replay()
        token = _state.set(self.surroundings._replace(region=again))
        try:
            with backend.replayed_random_state(self.random_state):
                self.run()
        finally:
            _state.reset(token)
        if [n.op for n in again.nodes] != self.ops:
            raise RuntimeError(
                "checkpoint: the function made other calls when it was run again; it must "
                "depend on its arguments alone"
            )
        for reference, fresh in zip(self.nodes, again.nodes):
            node = reference()
            if node is not None and node.env is self:
                node.env = fresh.env


class _Replay:
    """Collects the nodes of a second run."""

    def __init__(self):
        self.level = new_level()
        self.nodes = []

    def enter(self, node, level):
        if level < self.level:
            self.nodes.append(node)
