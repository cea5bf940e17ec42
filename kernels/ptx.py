"""Instructions that Python has no name for: tensor cores, asynchronous copies, vector loads.

Each is a function with two bodies. What is written here emulates it on the simulator; for the GPU,
``asm`` is put into the compiled code. Sections are those of NVIDIA's PTX ISA manual, 8.x.

A **word** is 32 bits (uint32), which here may hold two 16-bit floats, the first in its low half.
Addresses are an array and the number of an element in it, counted as if it were flat; the array
must be C-contiguous.
"""

import ctypes
import time

import ml_dtypes
import numpy as np

from kernels.sim.intrinsics import (
    GLOBAL,
    SHARED,
    commit,
    copied,
    fetched,
    found_at,
    gather,
    intrinsic,
    wait,
    written,
)

F32, U32 = np.float32, np.uint32
BF16 = ml_dtypes.bfloat16


# Tensor cores


@intrinsic(
    returns=(F32,) * 4,
    takes=(U32,) * 6 + (F32,) * 4,
    asm="mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
    "{{{0}, {1}, {2}, {3}}}, {{{4}, {5}, {6}, {7}}}, {{{8}, {9}}}, {{{10}, {11}, {12}, {13}}};",
)
def mma_f16(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """D = A B + C on the tensor cores, by a whole warp: A (16, 16) and B (16, 8) float16, C and D
    (16, 8) float32. PTX ISA 9.7.14.5.8.

    Lane t holds, with g = t / 4 and p = 2 (t mod 4):

        a0: A[g, p : p+2]      a1: A[g+8, p : p+2]    b0: B[p : p+2, g]
        a2: A[g, p+8 : p+10]   a3: A[g+8, p+8 : p+10] b1: B[p+8 : p+10, g]
        c0, c1: C[g, p : p+2]  c2, c3: C[g+8, p : p+2]
    """
    return _mma("mma_f16", np.float16, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3)


@intrinsic(
    returns=(F32,) * 4,
    takes=(U32,) * 6 + (F32,) * 4,
    asm="mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
    "{{{0}, {1}, {2}, {3}}}, {{{4}, {5}, {6}, {7}}}, {{{8}, {9}}}, {{{10}, {11}, {12}, {13}}};",
)
def mma_bf16(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """The same with A and B in bfloat16."""
    return _mma("mma_bf16", BF16, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3)


def _mma(kind, dtype, *mine):
    def solve(given):
        words = np.array([given[lane][:6] for lane in range(32)], np.uint32)
        sums = np.array([given[lane][6:] for lane in range(32)], np.float32)
        halves = words.view(dtype).astype(np.float32).reshape(32, 6, 2)
        A, B, C = np.empty((16, 16), F32), np.empty((16, 8), F32), np.empty((16, 8), F32)
        lane = np.arange(32)
        g, p = lane // 4, 2 * (lane % 4)
        for i, (down, right) in enumerate(((0, 0), (8, 0), (0, 8), (8, 8))):
            for e in (0, 1):
                A[g + down, p + right + e] = halves[:, i, e]
        for i in (0, 1):
            for e in (0, 1):
                B[p + 8 * i + e, g] = halves[:, 4 + i, e]
                C[g + 8 * i, p + e] = sums[:, 2 * i + e]
        D = A @ B + C
        return {
            int(t): tuple(D[g[t] + 8 * i, p[t] + e] for i in (0, 1) for e in (0, 1)) for t in lane
        }

    return gather(kind, mine, solve)


@intrinsic(
    returns=(U32,) * 4,
    takes=(SHARED,),
    asm="ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{{0}, {1}, {2}, {3}}}, [{4}];",
)
def ldmatrix_x4(array, index):
    """Four 8 x 8 matrices of 16-bit numbers from shared memory, by a whole warp.
    PTX ISA 9.7.14.5.15.

    Lane t gives the address of row t mod 8 of matrix t / 8: eight elements on a 16-byte boundary.
    It gets, of each matrix, the word at row t / 4, columns 2 (t mod 4) and the next.
    """
    return _ldmatrix("ldmatrix_x4", array, index, 4, False)


@intrinsic(
    returns=(U32,) * 4,
    takes=(SHARED,),
    asm="ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {{{0}, {1}, {2}, {3}}}, [{4}];",
)
def ldmatrix_x4_trans(array, index):
    """The same, each matrix transposed."""
    return _ldmatrix("ldmatrix_x4_trans", array, index, 4, True)


def _ldmatrix(kind, array, index, count, transposed):
    row = fetched(array, index, 8, align=16)

    def solve(given):
        rows = np.array([given[lane] for lane in range(8 * count)])
        matrices = rows.reshape(count, 8, 8)
        matrices = matrices.swapaxes(1, 2) if transposed else matrices
        words = np.ascontiguousarray(matrices).view(U32)  # (count, 8, 4)
        return {t: tuple(words[:, t // 4, t % 4]) for t in range(32)}

    return gather(kind, row, solve)


@intrinsic(returns=(U32,), takes=(U32,), asm="movmatrix.sync.aligned.m8n8.trans.b16 {0}, {1};")
def transpose8(word):
    """Transpose an 8 x 8 matrix of 16-bit numbers that a whole warp holds, lane t the word at row
    t / 4, columns 2 (t mod 4) and the next. PTX ISA 9.7.14.5.17.

    It makes of a matrix as mma puts it out (two numbers packed) one as mma takes it in.
    """

    def solve(given):
        matrix = np.array([given[lane] for lane in range(32)], U32).view(np.uint16).reshape(8, 8)
        words = np.ascontiguousarray(matrix.T).view(U32).reshape(32)
        return {t: words[t] for t in range(32)}

    return gather("transpose8", word, solve)


@intrinsic(returns=(U32,), takes=(U32, U32),
           asm="shfl.sync.bfly.b32 {0}, {1}, {2}, 31, 0xffffffff;")  # fmt: skip
def swap_words(word, distance):
    """The word of the lane whose number differs in the bit ``distance``, by a whole warp.
    PTX ISA 9.7.9.6."""
    solve = lambda given: {lane: given[lane ^ int(distance)] for lane in given}
    return gather("swap_words", word, solve)


# Asynchronous copies


@intrinsic(
    returns=(),
    takes=(SHARED, GLOBAL, U32),
    memory=True,
    asm="cp.async.cg.shared.global [{0}], [{1}], 16, {2};",
)
def cp_async16(target, to, source, start, count):
    """Begin to copy 16 bytes from global to shared memory: ``count`` bytes of the source, then
    zeros. Nobody may touch them until the thread has waited. PTX ISA 9.7.9.25.3."""
    copied(target, to, source, start, 16, int(count))


@intrinsic(
    returns=(),
    takes=(SHARED, GLOBAL, U32),
    memory=True,
    asm="cp.async.ca.shared.global [{0}], [{1}], 4, {2};",
)
def cp_async4(target, to, source, start, count):
    """The same for 4 bytes, for what lies on no wider boundary."""
    copied(target, to, source, start, 4, int(count))


@intrinsic(returns=(), takes=(), memory=True, asm="cp.async.commit_group;")
def cp_async_commit():
    """Make a group of the copies begun since the last one."""
    commit()


@intrinsic(returns=(), takes=(), memory=True, asm="cp.async.wait_group 0;")
def cp_async_wait0():
    """Wait for all groups of this thread."""
    wait(0)


@intrinsic(returns=(), takes=(), memory=True, asm="cp.async.wait_group 1;")
def cp_async_wait1():
    """Wait for all groups of this thread but the last one."""
    wait(1)


@intrinsic(returns=(), takes=(), memory=True, asm="cp.async.wait_group 2;")
def cp_async_wait2():
    """Wait for all groups of this thread but the last two."""
    wait(2)


@intrinsic(returns=(), takes=(), memory=True, asm="cp.async.wait_group 3;")
def cp_async_wait3():
    """Wait for all groups of this thread but the last three."""
    wait(3)


# Vector loads and stores


@intrinsic(
    returns=(U32,) * 4, takes=(GLOBAL,), asm="ld.global.v4.u32 {{{0}, {1}, {2}, {3}}}, [{4}];"
)
def load_words(array, index):
    """Four words of any array in one load of 16 bytes from global memory, on a boundary of 16.
    PTX ISA 9.7.9.8."""
    return tuple(fetched(array, index, 16 // array.itemsize, align=16).view(U32))


@intrinsic(returns=(U32,), takes=(GLOBAL,), asm="ld.global.u32 {0}, [{1}];")
def load_word(array, index):
    """One word of any array from global memory, on a boundary of 4."""
    return fetched(array, index, 4 // array.itemsize, align=4).view(U32)[0]


@intrinsic(
    returns=(U32,) * 4, takes=(SHARED,), asm="ld.shared.v4.u32 {{{0}, {1}, {2}, {3}}}, [{4}];"
)
def load_words_shared(array, index):
    """Four words of any array in one load of 16 bytes from shared memory."""
    return tuple(fetched(array, index, 16 // array.itemsize, align=16).view(U32))


@intrinsic(returns=(U32,) * 2, takes=(SHARED,), asm="ld.shared.v2.u32 {{{0}, {1}}}, [{2}];")
def load_two_words_shared(array, index):
    """Two words of any array in one load of 8 bytes from shared memory, on a boundary of 8."""
    return tuple(fetched(array, index, 8 // array.itemsize, align=8).view(U32))


@intrinsic(returns=(U32,), takes=(SHARED,), asm="ld.shared.u32 {0}, [{1}];")
def load_word_shared(array, index):
    """One word of any array from shared memory, on a boundary of 4."""
    return fetched(array, index, 4 // array.itemsize, align=4).view(U32)[0]


@intrinsic(
    returns=(F32,) * 4, takes=(GLOBAL,), asm="ld.global.nc.v4.f32 {{{0}, {1}, {2}, {3}}}, [{4}];"
)
def load4(array, index):
    """Four float32 in one load of 16 bytes from global memory. PTX ISA 9.7.9.8."""
    return tuple(fetched(array, index, 4, align=16))


@intrinsic(
    returns=(F32,) * 4,
    takes=(GLOBAL,),
    asm="ld.global.L1::no_allocate.v4.f32 {{{0}, {1}, {2}, {3}}}, [{4}];",
)
def load4_once(array, index):
    """Four float32 in one load of 16 bytes that keeps no copy in the first-level cache: for what
    is read once. PTX ISA 9.7.9.8."""
    return tuple(fetched(array, index, 4, align=16))


@intrinsic(
    returns=(U32,) * 4,
    takes=(GLOBAL,),
    asm="ld.global.L1::no_allocate.v4.u32 {{{0}, {1}, {2}, {3}}}, [{4}];",
)
def load_words_once(array, index):
    """Four words of any array, likewise."""
    return tuple(fetched(array, index, 16 // array.itemsize, align=16).view(U32))


@intrinsic(
    returns=(F32,) * 4, takes=(SHARED,), asm="ld.shared.v4.f32 {{{0}, {1}, {2}, {3}}}, [{4}];"
)
def load4_shared(array, index):
    """Four float32 in one load of 16 bytes from shared memory."""
    return tuple(fetched(array, index, 4, align=16))


@intrinsic(
    returns=(),
    takes=(GLOBAL,) + (U32,) * 4,
    memory=True,
    asm="st.global.v4.u32 [{0}], {{{1}, {2}, {3}, {4}}};",
)
def store_words(array, index, a, b, c, d):
    """Four words into any array in one store of 16 bytes to global memory."""
    written(array, index, (a, b, c, d), U32, align=16)


@intrinsic(returns=(), takes=(GLOBAL, U32), memory=True, asm="st.global.u32 [{0}], {1};")
def store_word(array, index, a):
    """One word into any array in global memory, on a boundary of 4."""
    written(array, index, (a,), U32, align=4)


@intrinsic(
    returns=(),
    takes=(SHARED,) + (U32,) * 4,
    memory=True,
    asm="st.shared.v4.u32 [{0}], {{{1}, {2}, {3}, {4}}};",
)
def store_words_shared(array, index, a, b, c, d):
    """Four words into any array in one store of 16 bytes to shared memory."""
    written(array, index, (a, b, c, d), U32, align=16)


@intrinsic(
    returns=(),
    takes=(GLOBAL, F32, F32, F32, F32),
    memory=True,
    asm="st.global.v4.f32 [{0}], {{{1}, {2}, {3}, {4}}};",
)
def store4(array, index, a, b, c, d):
    """Four float32 in one store of 16 bytes to global memory."""
    written(array, index, (a, b, c, d), F32, align=16)


@intrinsic(
    returns=(),
    takes=(SHARED, F32, F32, F32, F32),
    memory=True,
    asm="st.shared.v4.f32 [{0}], {{{1}, {2}, {3}, {4}}};",
)
def store4_shared(array, index, a, b, c, d):
    """Four float32 in one store of 16 bytes to shared memory."""
    written(array, index, (a, b, c, d), F32, align=16)


# Addresses


def array_at(address, size, like):
    """An array of ``size`` elements of the dtype of the array ``like``, the first of which is at an
    address in global memory: how a kernel reaches what a table of addresses names."""
    whole = (ctypes.c_byte * (int(size) * like.dtype.itemsize)).from_address(int(address))
    return found_at(int(address), np.frombuffer(whole, like.dtype))


def _native_array_at():
    from kernels import _numba

    return _numba.array_at


array_at.native = _native_array_at


# Numbers


@intrinsic(returns=(U32,), takes=(F32, F32), pure=True, asm="cvt.rn.f16x2.f32 {0}, {2}, {1};")
def pack_f16(low, high):
    """A word of two float32 rounded to float16. PTX ISA 9.7.9.21."""
    return np.array([low, high], F32).astype(np.float16).view(U32)[0]


@intrinsic(returns=(U32,), takes=(F32, F32), pure=True, asm="cvt.rn.bf16x2.f32 {0}, {2}, {1};")
def pack_bf16(low, high):
    """A word of two float32 rounded to bfloat16. PTX ISA 9.7.9.21."""
    return np.array([low, high], F32).astype(BF16).view(U32)[0]


@intrinsic(
    returns=(F32, F32),
    takes=(U32,),
    pure=True,
    asm="{{ .reg .b16 lo, hi; mov.b32 {{lo, hi}}, {2}; "
    "cvt.f32.f16 {0}, lo; cvt.f32.f16 {1}, hi; }}",
)
def unpack_f16(word):
    """The two float16 of a word, as float32."""
    return tuple(np.array([word], U32).view(np.float16).astype(F32))


@intrinsic(
    returns=(F32, F32),
    takes=(U32,),
    pure=True,
    asm="{{ shl.b32 {0}, {2}, 16; and.b32 {1}, {2}, 0xffff0000; }}",
)
def unpack_bf16(word):
    """The two bfloat16 of a word, as float32."""
    return tuple(np.array([word], U32).view(BF16).astype(F32))


@intrinsic(returns=(F32,), takes=(F32,), pure=True, asm="ex2.approx.ftz.f32 {0}, {1};")
def exp2(x):
    """2 to the power of x, to about 2 units in the last place. PTX ISA 9.7.3.21."""
    return F32(np.exp2(F32(x)))


@intrinsic(returns=(F32,), takes=(F32,), pure=True, asm="lg2.approx.ftz.f32 {0}, {1};")
def log2(x):
    """The logarithm to base 2 of x. PTX ISA 9.7.3.20."""
    with np.errstate(divide="ignore"):
        return F32(np.log2(F32(x)))


@intrinsic(returns=(F32,), takes=(F32,), pure=True, asm="rcp.approx.ftz.f32 {0}, {1};")
def reciprocal(x):
    """1 / x, to 1 unit in the last place. PTX ISA 9.7.3.13."""
    with np.errstate(divide="ignore"):
        return F32(1) / F32(x)


@intrinsic(returns=(F32,), takes=(F32,), pure=True, asm="rsqrt.approx.ftz.f32 {0}, {1};")
def rsqrt(x):
    """1 / sqrt(x). PTX ISA 9.7.3.17."""
    with np.errstate(divide="ignore"):
        return F32(1) / np.sqrt(F32(x))


@intrinsic(returns=(U32,), takes=(U32,) * 3, pure=True, asm="prmt.b32 {0}, {1}, {2}, {3};")
def pick_bytes(a, b, which):
    """A word of four bytes picked from eight, those of a being 0 to 3 and those of b 4 to 7: a hex
    digit of ``which`` for each, the lowest byte's last. 0x5410 puts the low halves of a and b
    together, 0x7632 the high ones. PTX ISA 9.7.9.7."""
    both = np.array([a, b], U32).view(np.uint8)
    return np.array([both[int(which) >> 4 * i & 7] for i in range(4)], np.uint8).view(U32)[0]


@intrinsic(returns=(U32,), takes=(U32,) * 3, pure=True, asm="fma.rn.f16x2 {0}, {1}, {2}, {3};")
def fma_f16x2(a, b, c):
    """a b + c for both float16 of a word, rounded once. PTX ISA 9.7.4.4."""
    return _fma(np.float16, a, b, c)


@intrinsic(returns=(U32,), takes=(U32,) * 3, pure=True, asm="fma.rn.bf16x2 {0}, {1}, {2}, {3};")
def fma_bf16x2(a, b, c):
    """a b + c for both bfloat16 of a word, rounded once. PTX ISA 9.7.4.4."""
    return _fma(BF16, a, b, c)


def _fma(dtype, *words):
    a, b, c = np.array(words, U32).view(dtype).reshape(3, 2).astype(np.float64)
    return (a * b + c).astype(dtype).view(U32)[0]


@intrinsic(returns=(U32,), takes=(F32,), pure=True, asm="mov.b32 {0}, {1};")
def bits_of(x):
    """The bits of a float32 as a word."""
    return F32(x).view(U32)


@intrinsic(returns=(F32,), takes=(U32,), pure=True, asm="mov.b32 {0}, {1};")
def float_of(word):
    """The float32 whose bits a word has."""
    return U32(word).view(F32)


# Time


@intrinsic(returns=(np.uint64,), takes=(), memory=True, asm="mov.u64 {0}, %globaltimer;")
def nanoseconds():
    """The time of a clock that all multiprocessors share. PTX ISA 10.21."""
    return np.uint64(time.perf_counter_ns())
