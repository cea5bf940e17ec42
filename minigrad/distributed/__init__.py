"""Many devices: collectives and parallel schemes, simulated to the byte or real on MPI and NCCL.

from minigrad import distributed as dist

def main(comm):
    return comm.all_reduce(np.full(4, comm.rank))

run = dist.run(main, 8)
run[0], run.seconds, run.traffic
"""

from minigrad.distributed.communicator import Communicator, Handle
from minigrad.distributed.errors import DistributedError, RankDied
from minigrad.distributed.mesh import Mesh
from minigrad.distributed.ops import all_reduce_then_identity, identity_then_all_reduce
from minigrad.distributed.running import Run, run
from minigrad.distributed.simulated import FatTree, Fault, FullyConnected, Nodes, Ring
