"""AdamW steps, in place: the parameters of a whole model in one launch.

A model has hundreds of arrays, most of them small: a launch for each would take longer than their
bytes do. The kernel gets a table of addresses instead. Blocks take chunks of 8,192 elements, each
of one parameter; a second table says which, and where the chunk begins. Arithmetic is in float32,
whatever the arrays hold.

    m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g²
    p = p - lr weight_decay p - lr m̂ / (sqrt(v̂) + eps),  m̂ = m / (1 - beta1^t), v̂ likewise

(Loshchilov and Hutter, 2019). Each element of g, m, v and p is read once, and of m, v and p written
once: 28 bytes in float32. With a ``master``, a float32 copy of the parameters, p has 16 bits and is
only written.
"""

import functools
import itertools
import math

import numpy as np

from kernels import cuda, ptx
from kernels._host import address, aligned, empty, integer, namespace, number
from kernels._rows import BYTES, FLOATS, vectors

THREADS, CHUNK = 256, 8192
FIELDS = 8
BELOW_ONE = math.nextafter(1, 0)
P, G, M, V, MASTER, SIZE, WIDE = range(7)  # columns of the table of parameters


@functools.cache
def _group(dtype, E):
    """(read, write) for E neighbouring elements, in one access of 16 bytes or two."""
    W, read_vector, write_vector = vectors(dtype, True)
    STEPS = E // W

    @cuda.jit(device=True)
    def read(x, index, values, at):
        for q in cuda.unroll(STEPS):
            read_vector(x, index + q * W, values, at + q * W)

    @cuda.jit(device=True)
    def write(x, index, values, at):
        for q in cuda.unroll(STEPS):
            write_vector(x, index + q * W, values, at + q * W)

    return read, write


@cuda.jit(device=True)
def update(p, g, m, v, keep, beta1, rest1, beta2, rest2, rate, root, eps):
    """(p, m, v) after a step."""
    m = beta1 * m + rest1 * g
    v = beta2 * v + rest2 * (g * g)
    return keep * p - rate * m / (np.float32(math.sqrt(v)) * root + eps), m, v


@functools.cache
def make_adamw(dtype, slots, mastered):
    """The kernel for parameters and gradients of a dtype, m and v of the dtype ``slots``."""
    E = 4 if dtype == "float32" else 8
    GROUPS = 8 // E  # a thread's groups of E elements at a time
    COUNT = GROUPS * E
    read, write = _group(dtype, E)
    read_slot, write_slot = _group(slots, E)
    read_master, write_master = _group("float32", E)

    @cuda.jit(fastmath=False, launch_bounds=THREADS)
    def adamw(
        table, chunks, like, like_slot, like_master,
        keep, beta1, rest1, beta2, rest2, rate, root, eps,
    ):  # fmt: skip
        """table (parameters * FIELDS), chunks (blocks * 2: parameter, first element) int64."""
        ps, gs = cuda.local.array(COUNT, np.float32), cuda.local.array(COUNT, np.float32)
        ms, vs = cuda.local.array(COUNT, np.float32), cuda.local.array(COUNT, np.float32)
        entry, start = chunks[2 * cuda.blockIdx.x] * FIELDS, chunks[2 * cuda.blockIdx.x + 1]
        size = table[entry + SIZE]
        stop = min(start + CHUNK, size)
        p = ptx.array_at(table[entry + P], size, like)
        g = ptx.array_at(table[entry + G], size, like)
        m = ptx.array_at(table[entry + M], size, like_slot)
        v = ptx.array_at(table[entry + V], size, like_slot)
        if mastered:
            master = ptx.array_at(table[entry + MASTER], size, like_master)
        whole = start + (stop - start) // E * E if table[entry + WIDE] != 0 else start
        for first in range(start, whole, THREADS * COUNT):
            for k in cuda.unroll(GROUPS):
                i = first + (k * THREADS + cuda.threadIdx.x) * E
                if i < whole:
                    if mastered:
                        read_master(master, i, ps, k * E)
                    else:
                        read(p, i, ps, k * E)
                    read(g, i, gs, k * E)
                    read_slot(m, i, ms, k * E)
                    read_slot(v, i, vs, k * E)
            for j in cuda.unroll(COUNT):
                ps[j], ms[j], vs[j] = update(
                    ps[j], gs[j], ms[j], vs[j], keep, beta1, rest1, beta2, rest2, rate, root, eps
                )
            for k in cuda.unroll(GROUPS):
                i = first + (k * THREADS + cuda.threadIdx.x) * E
                if i < whole:
                    write_slot(m, i, ms, k * E)
                    write_slot(v, i, vs, k * E)
                    write(p, i, ps, k * E)
                    if mastered:
                        write_master(master, i, ps, k * E)
        for i in range(whole + cuda.threadIdx.x, stop, THREADS):
            old = master[i] if mastered else np.float32(p[i])
            new, first_moment, second_moment = update(
                old, np.float32(g[i]), np.float32(m[i]), np.float32(v[i]),
                keep, beta1, rest1, beta2, rest2, rate, root, eps,
            )  # fmt: skip
            m[i], v[i], p[i] = first_moment, second_moment, new
            if mastered:
                master[i] = new

    return adamw


def adamw_step(
    parameters, gradients, m, v, master=None, *, lr, beta1, beta2, eps, weight_decay, step
):
    """One AdamW step on lists of arrays, in place.

    parameters and gradients: of one dtype, float32, float16 or bfloat16; m and v: all float32 or
    all of that dtype; master: None, or float32 copies of 16-bit parameters, which then decide. Each
    gradient and slot has the shape of its parameter; all but gradients are C-contiguous. ``step``
    counts from 1. Raises TypeError and ValueError.
    """
    lists = {"parameters": parameters, "gradients": gradients, "m": m, "v": v, "master": master}
    for name, each in lists.items():
        if not isinstance(each, list | tuple) and (each is not None or name != "master"):
            raise TypeError(f"{name} is {type(each).__name__}; expected a list of arrays")
    lists = {name: list(each) for name, each in lists.items() if each is not None}
    if not lists["parameters"]:
        return
    xp = _check(lists)
    constants = _constants(lr, beta1, beta2, eps, weight_decay, step)
    lists["gradients"] = [
        g if g.flags.c_contiguous else xp.ascontiguousarray(g) for g in lists["gradients"]
    ]
    like, slot = lists["parameters"][0], lists["m"][0]
    sizes = tuple(p.size for p in lists["parameters"])
    chunks, blocks = _chunks(sizes, None if xp is np else like.device.id)
    if not blocks:
        return
    kernel = make_adamw(like.dtype.name, slot.dtype.name, master is not None)
    copy = lists["master"][0] if master is not None else empty(like, 0, "float32")
    flat = [x.reshape(-1) for x in (like, slot, copy)]
    kernel[blocks, THREADS](_table(xp, lists), chunks, *flat, *constants)


def _constants(lr, beta1, beta2, eps, weight_decay, step):
    """The numbers of a step as the kernel takes them. Raises TypeError and ValueError."""
    lr, eps = number("lr", lr, 0), number("eps", eps, 0)
    beta1, beta2 = number("beta1", beta1, 0, BELOW_ONE), number("beta2", beta2, 0, BELOW_ONE)
    decay = number("lr * weight_decay", lr * number("weight_decay", weight_decay, 0))
    step = integer("step", step, 1)
    return (
        1 - decay,
        beta1,
        1 - beta1,
        beta2,
        1 - beta2,
        number("lr / (1 - beta1**step)", lr / (1 - beta1**step)),
        1 / math.sqrt(1 - beta2**step),
        eps,
    )


def _check(lists):
    """The module of the arrays, which must fit each other."""
    first = lists["parameters"][0]
    xp, kind, dtype = namespace(parameters=first), type(first), first.dtype
    slots = getattr(lists["m"][0], "dtype", dtype) if lists["m"] else dtype
    expected = {"parameters": dtype, "gradients": dtype, "m": slots, "v": slots}
    if dtype.name not in FLOATS:
        raise TypeError(f"parameters are {dtype.name}; expected {' or '.join(FLOATS)}")
    if slots not in (dtype, np.float32):
        raise TypeError(f"m are {slots.name}; expected {dtype.name}, as parameters, or float32")
    if "master" in lists and dtype == np.float32:
        raise TypeError("parameters are float32; a master is for those of 16 bits")
    parameters = lists["parameters"]
    for name, arrays in lists.items():
        want = expected.get(name, np.dtype(np.float32))
        if len(arrays) != len(parameters):
            raise ValueError(f"{len(arrays)} {name} for {len(parameters)} parameters")
        for i, (x, p) in enumerate(zip(arrays, parameters)):
            if type(x) is not kind or _device(x) != _device(first):
                raise TypeError(
                    f"{name}[{i}] is {type(x).__name__} or elsewhere than parameters[0]"
                )
            if x.dtype != want or x.shape != p.shape:
                raise ValueError(
                    f"{name}[{i}] is {x.dtype.name} {x.shape}; expected {want.name} {p.shape}"
                )
            if not x.flags.c_contiguous and name != "gradients":
                raise ValueError(f"{name}[{i}] {x.shape} is not C-contiguous: strides {x.strides}")
            if name != "gradients" and isinstance(x, np.ndarray) and not x.flags.writeable:
                raise ValueError(f"{name}[{i}] cannot be written to")
    _check_apart(lists)
    return xp


def _check_apart(lists):
    """That no array that is written shares memory with another, and that all begin where their
    elements may. Raises ValueError."""
    spans = []
    for name, arrays in lists.items():
        for i, x in enumerate(arrays):
            if x.size and x.flags.c_contiguous:
                start = aligned(f"{name}[{i}]", x)
                spans.append((start, start + x.nbytes, name, i))
    spans.sort()
    for (_, end, name, i), (start, _, other, j) in itertools.pairwise(spans):
        if start < end and (name, other) != ("gradients", "gradients"):
            raise ValueError(f"{name}[{i}] shares memory with {other}[{j}]")


def _device(x):
    return None if isinstance(x, np.ndarray) else x.data.device_id


def _table(xp, lists):
    """(parameters * FIELDS) int64: addresses, sizes, and whether 16 bytes go at a time."""
    rows = np.zeros((len(lists["parameters"]), FIELDS), np.int64)
    for column, name in enumerate(("parameters", "gradients", "m", "v", "master")):
        if name in lists:
            rows[:, column] = [address(x) for x in lists[name]]
    rows[:, SIZE] = [p.size for p in lists["parameters"]]
    rows[:, WIDE] = (rows[:, :SIZE] % BYTES == 0).all(axis=1)
    return xp.asarray(rows.reshape(-1))


@functools.lru_cache(maxsize=16)
def _chunks(sizes, device):
    """((blocks * 2) int64, blocks): the parameter and the first element of each chunk."""
    pairs = [(i, start) for i, size in enumerate(sizes) for start in range(0, size, CHUNK)]
    flat = np.array(pairs, np.int64).reshape(-1)
    if device is None:
        return flat, len(pairs)
    import cupy

    return cupy.asarray(flat), len(pairs)
