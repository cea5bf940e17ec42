"""A mesh: ranks along several axes, one for each parallel scheme.

    mesh = Mesh(comm, data=2, pipeline=2, tensor=4)
    mesh.tensor.all_reduce(x)      # among the 4 ranks that share all but the tensor coordinate

The last axis varies fastest, as in a C array: its ranks are neighbours, so the scheme that speaks
most (tensor, then context or expert) belongs last, where the wires are fast, and data or pipeline
first, across nodes. Source: Narayanan et al. 2021; PyTorch's DeviceMesh.
"""

import math
import operator


class Mesh:
    """The ranks of ``comm`` along named axes; ``mesh.NAME`` is the communicator along one.

    Arguments: comm, of as many ranks as the product of all sizes; sizes, name=how many, first the
    axis whose ranks are farthest apart. Names are free; data, pipeline, expert, context and tensor
    are the usual ones. Every rank of ``comm`` makes the mesh.

    Attributes: shape, {name: size}; coordinates, {name: this rank's index}; comm.
    Raises ValueError where the sizes do not make up the ranks.
    """

    def __init__(self, comm, **sizes):
        self.comm = comm
        self.shape = {name: operator.index(size) for name, size in sizes.items()}
        total = math.prod(self.shape.values())
        if min(self.shape.values(), default=1) < 1 or total != comm.size:
            told = " × ".join(f"{name} {size}" for name, size in self.shape.items())
            raise ValueError(f"Mesh: {told or 'no axes'} is {total} ranks; there are {comm.size}")
        if taken := sorted(self.shape.keys() & {*dir(Mesh), "comm", "shape", "coordinates"}):
            raise ValueError(f"Mesh: an axis cannot be called {taken[0]!r}")
        self.coordinates, rest = {}, comm.rank
        for name, size in reversed(self.shape.items()):
            rest, self.coordinates[name] = divmod(rest, size)
        for name in self.shape:
            setattr(self, name, self.along(name))

    def along(self, *names):
        """The communicator of the ranks that share all coordinates but these.

        ``along("data", "context")`` is the group that averages the gradients where both axes hold
        copies of the model. Its ranks stand in the order of the mesh. Every rank calls it.
        """
        if unknown := [name for name in names if name not in self.shape]:
            known = ", ".join(map(repr, self.shape))
            raise ValueError(f"Mesh: there is no axis {unknown[0]!r}; expected one of {known}")
        color = 0
        for name, size in self.shape.items():
            if name not in names:
                color = color * size + self.coordinates[name]
        return self.comm.split(color, self.comm.rank)

    def __repr__(self):
        axes = ", ".join(f"{n} {self.coordinates[n]} of {s}" for n, s in self.shape.items())
        return f"<Mesh: rank {self.comm.rank} is {axes}>"
