"""The NCCL engine on real GPUs: ``minigrad launch -n 4 --engine nccl tests/benchmarks/on_gpus.py``.

Three tables: the bus bandwidth of our calls beside PyTorch's in the same processes; seconds of an
AllReduce beside those that α and β predict, fitted to every other size; tokens a second of
data-parallel training of a model with 100 million parameters on all GPUs and on one.
Bus bandwidth of an AllReduce of n bytes in t seconds over P ranks is 2(P − 1)/P·n/t.
"""

import contextlib
import functools
import os
import statistics
import sys
import time

import cupy
import numpy as np

import minigrad as mg
from minigrad import distributed as dist
from minigrad import optim
from minigrad.distributed.data_parallel import DataParallel
from minigrad.models import GPT, GPTConfig

SIZES = [2**k for k in range(14, 31)]  # bytes
ROUNDS, WARM, QUEUED = 30, 5, 10


def seconds(calls, comm):
    """The median time of each call that all ranks make together, the slowest rank's. QUEUED of
    them are begun before the rank waits for the GPU, as in training; the calls to compare take
    turns, so that what disturbs one disturbs all."""
    synchronize = cupy.cuda.Device().synchronize
    times = [[] for _ in calls]
    for round in range(WARM + ROUNDS):
        for call, found in zip(calls, times):
            comm.barrier()
            synchronize()
            start = time.perf_counter()
            for _ in range(QUEUED):
                call()
            synchronize()
            if round >= WARM:
                found.append((time.perf_counter() - start) / QUEUED)
    return comm.all_reduce(np.array([statistics.median(each) for each in times]), "max").tolist()


def gpu_seconds(call, comm):
    """The median time of a call on the GPU alone, which is kept busy while calls are queued."""
    busy, times = cupy.empty(2**30, np.float32), []  # filled in about a millisecond
    for _ in range(WARM + ROUNDS):
        comm.barrier()
        busy.fill(0)
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        for _ in range(QUEUED):
            call()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end) / 1e3 / QUEUED)
    return float(comm.all_reduce(np.array(statistics.median(times[WARM:])), "max"))


@contextlib.contextmanager
def torch_group(comm):
    """(PyTorch, its own NCCL group of the same ranks), or None where there is no PyTorch."""
    try:
        import torch
        import torch.distributed as group
    except ImportError:
        yield None
        return
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29511")
    torch.cuda.set_device(comm.rank)
    group.init_process_group("nccl", rank=comm.rank, world_size=comm.size)
    yield torch, group
    group.destroy_process_group()


def bandwidths(comm, peer, say):
    say(f"AllReduce, float32, {comm.size} ranks: bus bandwidth in GB/s")
    say(f"{'bytes':>14} {'ours':>8} {'PyTorch':>8} {'ratio':>6} {'ours, µs':>9}")
    for nbytes in SIZES:
        x = cupy.ones(nbytes // 4, np.float32)
        calls = [functools.partial(comm.all_reduce, x)]
        if peer is not None:
            torch, group = peer
            y = torch.ones(nbytes // 4, device="cuda")
            calls.append(functools.partial(group.all_reduce, y))
        ours, theirs = [*seconds(calls, comm), float("nan")][:2]
        bus = 2 * (comm.size - 1) / comm.size * nbytes / 1e9
        say(
            f"{nbytes:>14,} {bus / ours:8.1f} {bus / theirs:8.1f} {theirs / ours:6.2f} "
            f"{ours * 1e6:9.1f}"
        )


def predictions(comm, say):
    """α and β of the ring, t = 2(P − 1)·α + 2(P − 1)/P·n·β, fitted by least relative squares.

    NCCL changes its protocol with the size, and each has an α and a β of its own; here it is held
    to the one that it takes for large messages.
    """
    os.environ["NCCL_PROTO"] = "Simple"  # which is read when a group is made
    group, P = comm.split(0), comm.size
    del os.environ["NCCL_PROTO"]
    sizes, times = np.array(SIZES), []
    for nbytes in SIZES:
        call = functools.partial(group.all_reduce, cupy.ones(nbytes // 4, np.float32))
        times.append(gpu_seconds(call, group))
    times = np.array(times)
    design = np.stack([np.full(len(sizes), 2.0 * (P - 1)), 2 * (P - 1) / P * sizes], 1)
    fitted = np.arange(len(sizes)) % 2 == 0
    scaled = design / times[:, None]
    alpha_beta, *_ = np.linalg.lstsq(scaled[fitted], np.ones(fitted.sum()), rcond=None)
    alpha, beta = alpha_beta
    say(f"\none protocol, fitted to every other size: α = {alpha * 1e6:.2f} µs, ", end="")
    say(f"1/β = {1e-9 / beta:.1f} GB/s")
    say(f"{'bytes':>14} {'measured':>10} {'predicted':>10} {'off by':>7}")
    for n, measured, predicted in zip(sizes[~fitted], times[~fitted], design[~fitted] @ alpha_beta):
        say(
            f"{n:>14,} {measured * 1e6:9.1f}µ {predicted * 1e6:9.1f}µ "
            f"{predicted / measured - 1:7.1%}"
        )


CONFIG = GPTConfig(32_768, 1024, 768, 12, 12)  # 135 million parameters


def tokens_a_second(comm, batch=8, steps=8):
    model = GPT(CONFIG, seed=0).to("cuda")
    ids = cupy.asarray(np.random.default_rng(comm.rank).integers(0, 32_768, (batch, 1025)))
    optimizer = optim.AdamW(model.parameters(), lr=1e-4)
    parallel = DataParallel(model, comm)

    def step():
        optimizer.zero_grad()
        parallel.backward(mg.cross_entropy(parallel(ids[:, :-1]), ids[:, 1:]))
        optimizer.step()

    for _ in range(3):
        step()
    comm.barrier()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    comm.barrier()
    cupy.cuda.Device().synchronize()
    return batch * 1024 * steps * comm.size / (time.perf_counter() - start)


def scaling(comm, say):
    alone = comm.split(comm.rank)
    one, every, again = (tokens_a_second(group) for group in (alone, comm, alone))
    one = float(comm.all_reduce(np.array((one + again) / 2), "mean"))
    say(f"\ndata-parallel GPT, {GPT(CONFIG, seed=0).num_parameters:,} parameters, 8 × 1,024 tokens")
    say(f"a GPU alone {one:,.0f} tokens/s; {comm.size} together {every:,.0f}: ", end="")
    say(f"{every / one / comm.size:.1%} of {comm.size} times as many")


def main(comm):
    say = print if comm.rank == 0 else lambda *_, **__: None
    wanted = sys.argv[1:] or ["bandwidth", "prediction", "scaling"]
    if "bandwidth" in wanted:
        with torch_group(comm) as peer:
            bandwidths(comm, peer, say)
    if "prediction" in wanted:
        predictions(comm, say)
    if "scaling" in wanted:
        scaling(comm, say)


if __name__ == "__main__":
    dist.run(main)
