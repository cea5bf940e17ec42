"""Watching: counts equal their formulas, patterns cost what a GPU charges, pictures show it."""

import subprocess
import sys

import numpy as np
import pytest

from kernels import cuda, pictures, ptx
from kernels.sim import requests
from kernels.watch import watch, watching

X = np.zeros(64, np.float32)


@cuda.jit
def naive(A, B, C):
    j, i = cuda.grid(2)
    if i < C.shape[0] and j < C.shape[1]:
        total = np.float32(0)
        for k in range(A.shape[1]):
            total += A[i, k] * B[k, j]
        C[i, j] = total


def tiled_by(T):
    @cuda.jit
    def tiled(A, B, C):
        a = cuda.shared.array((T, T), np.float32)
        b = cuda.shared.array((T, T), np.float32)
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        j, i = cuda.grid(2)
        total = np.float32(0)
        for start in range(0, A.shape[1], T):
            a[y, x] = A[i, start + x]
            b[y, x] = B[start + y, j]
            cuda.syncthreads()
            for k in range(T):
                total += a[y, k] * b[k, x]
            cuda.syncthreads()
        C[i, j] = total

    return tiled


def matrices(M, N, K):
    rng = np.random.default_rng(M + 10 * N + 100 * K)
    A, B = rng.standard_normal((M, K)), rng.standard_normal((K, N))
    return A.astype(np.float32), B.astype(np.float32), np.full((M, N), np.nan, np.float32)


@pytest.fixture(scope="module")
def product():
    """The report of a tiled product of matrices, and the matrices."""
    arrays = matrices(16, 24, 32)
    return watch(tiled_by(8)[(3, 2), (8, 8)], *arrays), *arrays


# Counts


@pytest.mark.parametrize(("M", "N", "K"), [(8, 8, 8), (7, 13, 5), (16, 9, 1)])
def test_a_naive_product_reads_two_numbers_for_each_product(M, N, K):
    A, B, C = matrices(M, N, K)
    report = watch(naive[(-(-N // 8), -(-M // 4)), (8, 4)], A, B, C)
    np.testing.assert_allclose(C, A @ B, rtol=1e-5, atol=1e-5)
    assert report.global_reads.bytes == 4 * 2 * M * N * K
    assert report.global_writes.bytes == 4 * M * N
    assert report.shared_reads.count == report.shared_writes.count == 0
    assert report.traffic("global", "reads", memory="A").count == M * N * K
    per_thread = report.global_reads.per_thread
    assert per_thread.shape == (-(-N // 8) * -(-M // 4), 32)
    assert (per_thread > 0).sum() == M * N
    assert set(per_thread[per_thread > 0].tolist()) == {2 * K}


@pytest.mark.parametrize(("M", "N", "K", "T"), [(16, 24, 32, 8), (8, 4, 12, 4)])
def test_a_tiled_product_reads_each_number_once_a_tile(M, N, K, T):
    A, B, C = matrices(M, N, K)
    report = watch(tiled_by(T)[(N // T, M // T), (T, T)], A, B, C)
    np.testing.assert_allclose(C, A @ B, rtol=1e-5, atol=1e-5)
    assert report.global_reads.bytes == 4 * 2 * M * N * K // T
    assert report.global_writes.bytes == 4 * M * N
    assert report.shared_writes.bytes == 4 * 2 * M * N * K // T
    assert report.shared_reads.bytes == 4 * 2 * M * N * K
    assert (report.global_reads.per_thread == 2 * K // T).all()
    assert report.races == []


def test_an_atomic_operation_reads_and_writes():
    @cuda.jit
    def count(total):
        cuda.atomic.add(total, 0, 1)

    report = watch(count[2, 5], np.zeros(1, np.int64))
    assert report.global_reads.bytes == report.global_writes.bytes == 2 * 5 * 8


def test_a_line_knows_its_source_and_what_it_does_to_each_array(product):
    report, *_ = product
    first = report.kernel.function.__code__.co_firstlineno
    told = [
        (line.number - first, line.way, line.memory, line.traffic.count) for line in report.lines
    ]
    assert told == [
        (8, "reads", "A", 1536),
        (8, "writes", "a", 1536),
        (9, "reads", "B", 1536),
        (9, "writes", "b", 1536),
        (12, "reads", "a", 12288),
        (12, "reads", "b", 12288),
        (14, "writes", "C", 384),
    ]
    assert report.lines[0].source == "a[y, x] = A[i, start + x]"
    assert report.traffic("shared", "reads", line=first + 12).count == 2 * 12288
    assert {line.file for line in report.lines} == {__file__}


# What accesses cost


def patterned(shared=False):
    @cuda.jit
    def kernel(x, where, out):
        s = cuda.shared.array(2048, np.float32)
        t = cuda.threadIdx.x
        if where[t] >= 0:
            if shared:
                s[where[t]] = 1.0
            else:
                out[t] = x[where[t]]

    return kernel


def cost_of(where, shared):
    x, out = np.zeros(4096, np.float32), np.zeros(len(where), np.float32)
    report = watch(patterned(shared)[1, len(where)], x, np.array(where), out)
    if shared:
        return report.shared_writes
    return report.traffic("global", "reads", memory="x")


@pytest.mark.parametrize(
    ("where", "transfers", "used"),
    [
        (range(32), 4, 128),  # neighbours
        (range(1, 33), 5, 128),  # not on a boundary
        ([7] * 32, 1, 4),  # all the same
        (range(0, 64, 2), 8, 128),  # every other
        (range(0, 1024, 32), 32, 128),  # a column
        (range(31, -1, -1), 4, 128),  # backwards
        ([5] + [-1] * 31, 1, 4),  # one lane
        (range(64), 8, 256),  # two warps
    ],
)
def test_sectors_of_patterns(where, transfers, used):
    got = cost_of(where, shared=False)
    assert (got.transfers, got.used) == (transfers, used)
    assert got.requests == -(-len(where) // 32)


@pytest.mark.parametrize(
    ("where", "wavefronts"),
    [
        (range(32), 1),
        ([7] * 32, 1),  # one word is read for all
        (range(0, 64, 2), 2),
        (range(0, 96, 3), 1),  # odd strides meet no bank twice
        (range(0, 1024, 32), 32),
        (range(0, 33 * 32, 33), 1),  # a padded column
        ([0, 32, 64] + [1] * 29, 3),
    ],
)
def test_wavefronts_of_patterns(where, wavefronts):
    got = cost_of(where, shared=True)
    assert (got.transfers, got.conflicts) == (wavefronts, wavefronts - 1)


@pytest.mark.parametrize("words", [1, 2, 4])
def test_costs_of_random_requests_as_counted_by_hand(words):
    rng = np.random.default_rng(words)
    lanes, count = 32, 40
    request = np.repeat(np.arange(count), lanes)
    lane = np.tile(np.arange(lanes), count)
    keep = rng.random(len(lane)) < 0.8
    request, lane = request[keep], lane[keep]
    offset = rng.integers(0, 64, len(lane)) * 4 * words
    size = np.full(len(lane), 4 * words)
    sectors, used = requests.sectors(request, count, offset, size)
    wavefronts, conflicts = requests.wavefronts(request, count, lane, offset, size)
    for i in range(count):
        mine = request == i
        asked = {(o + b) for o in offset[mine] for b in range(4 * words)}
        assert used[i] == len(asked)
        assert sectors[i] == len({byte // 32 for byte in asked})
        passes = []
        for part in range(words):  # 8 bytes go by half warps, 16 by quarters
            wanted = mine & (lane // (32 // words) == part)
            distinct = {o // 4 + w for o in offset[wanted] for w in range(words)}
            crowd = np.bincount([word % 32 for word in distinct], minlength=32)
            passes.append(crowd.max())
        assert wavefronts[i] == sum(passes)
        assert conflicts[i] == sum(max(each - 1, 0) for each in passes)


def test_16_bytes_a_lane_take_four_wavefronts_without_conflicts():
    @cuda.jit
    def wide(x, out):
        s = cuda.shared.array(128, np.float32)
        t = cuda.threadIdx.x
        a, b, c, d = ptx.load4(x, 4 * t)
        ptx.store4_shared(s, 4 * t, a, b, c, d)
        out[t] = d

    report = watch(wide[1, 32], np.zeros(128, np.float32), np.zeros(32, np.float32))
    assert (report.shared_writes.transfers, report.shared_writes.conflicts) == (4, 0)
    reads = report.global_reads
    assert (reads.count, reads.bytes, reads.requests, reads.transfers) == (32, 512, 1, 16)


@pytest.mark.parametrize(
    ("who", "share"), [(range(32), 0.0), (range(16), 0.5), (range(0, 32, 4), 0.75), ([9], 31 / 32)]
)
def test_divergence_is_the_share_of_idle_lanes(who, share):
    @cuda.jit
    def some(wanted, out):
        t = cuda.threadIdx.x
        if wanted >> t & 1:
            out[t] = 1.0

    report = watch(some[1, 32], sum(1 << t for t in who), np.zeros(32, np.float32))
    assert report.divergence == share
    assert [line.lanes for line in report.lines] == [32 * (1 - share)]


def test_a_small_block_is_not_called_divergent():
    assert cost_of(range(5), shared=False).requests == 1
    x, out = np.zeros(8, np.float32), np.zeros(40, np.float32)
    assert watch(patterned()[1, 40], x, np.zeros(40, np.int64), out).divergence == 0


def test_loops_of_different_lengths_pair_the_passes_of_a_line():
    @cuda.jit
    def triangle(x, out):
        t = cuda.threadIdx.x
        total = np.float32(0)
        for i in range(t + 1):
            total += x[i]
        out[t] = total

    report = watch(triangle[1, 32], np.ones(32, np.float32), np.zeros(32, np.float32))
    reads = report.global_reads
    assert (reads.count, reads.requests, reads.transfers) == (32 * 33 // 2, 32, 32)
    assert report.lines[0].lanes == 16.5


# Reports


def test_a_report_is_a_table():
    @cuda.jit
    def shift(x, out):
        s = cuda.shared.array((32, 2), np.float32)
        t = cuda.threadIdx.x
        s[t, 0] = x[t]
        if t < 16:
            out[t] = s[t + 1, 0]

    report = watch(shift[1, 32], np.zeros(32, np.float32), np.zeros(32, np.float32))
    first = shift.function.__code__.co_firstlineno
    want = f"""
shift: 1 block of 32 threads, 25% of the lanes idle

line  source                does               times  bytes  requests  a request moves                     lanes
{first + 4:4}  s[t, 0] = x[t]        reads x               32    128         1  4 sectors, 100% used                   32
                            writes s (shared)     32    128         1  2 wavefronts, 1 for bank conflicts     32
{first + 6:4}  out[t] = s[t + 1, 0]  reads s (shared)      16     64         1  1 wavefront                            16
                            writes out            16     64         1  2 sectors, 100% used                   16

global memory: 128 bytes read, 64 bytes written
shared memory: 64 bytes read, 128 bytes written
RACE s[1, 0]: read by thread 0 of block 0 at {__file__}:{first + 6}, write by thread 1 of block 0 at {__file__}:{first + 4}
UNWRITTEN s[1, 0]: read by thread 0 of block 0 at {__file__}:{first + 6} before any write
"""  # noqa: E501
    assert str(report) == want.strip()
    assert "s[t + 1, 0]" in report._repr_html_()


def test_a_table_names_the_file_of_a_function_from_elsewhere():
    scope = {}
    exec(compile("def put(s, t):\n    s[t] = t < 3", "/elsewhere.py", "exec"), scope)
    put = scope["put"]

    @cuda.jit
    def kernel(out):
        t = cuda.threadIdx.x
        put(out, t)
        out[t] = t < 3

    report = watch(kernel[1, 4], np.zeros(4, np.float32))
    line = kernel.function.__code__.co_firstlineno + 4
    labels = [row.split()[0] for row in str(report).splitlines()[3:5]]
    assert labels == [str(line), "elsewhere.py:2"]
    assert "out[t] = t &lt; 3" in report._repr_html_()


def test_a_report_of_a_kernel_that_does_nothing():
    @cuda.jit
    def idle(x):
        cuda.syncthreads()

    report = watch(idle[2, 3], np.zeros(1))
    assert report.races == report.lines == []
    assert report.divergence == report.global_reads.count == 0
    assert str(report).startswith("idle: 2 blocks of 3 threads")


def test_every_launch_inside_is_watched_whoever_makes_it():
    def product(A, B, C):
        naive[1, (8, 8)](A, B, C)
        tiled_by(4)[(2, 2), (4, 4)](A, B, C)

    arrays = matrices(8, 8, 8)
    with watching() as reports:
        product(*arrays)
        with watching() as inner:
            naive[1, (8, 8)](*arrays)
    naive[1, (8, 8)](*arrays)
    assert [report.kernel.__name__ for report in reports] == ["naive", "tiled"]
    assert [(tuple(report.grid), tuple(report.block)) for report in reports] == [
        ((1, 1, 1), (8, 8, 1)),
        ((2, 2, 1), (4, 4, 1)),
    ]
    assert [arg.shape for arg in reports[0].args] == [(8, 8)] * 3
    assert len(inner) == 1


def test_a_launch_on_a_gpu_cannot_be_watched():
    with pytest.raises(TypeError, match="give it NumPy arrays"):
        watch(lambda *args: None, X)


def test_a_launch_that_fails_is_told_and_raised():
    with watching() as reports, pytest.raises(IndexError, match="is outside of B"):
        naive[1, (8, 8)](*(x[: i + 6] for i, x in enumerate(matrices(8, 8, 8))))
    assert isinstance(reports[0].error, IndexError)
    assert reports[0].global_reads.count > 0


def test_watching_does_not_change_results():
    A, B, C = matrices(16, 8, 24)
    tiled_by(8)[(1, 2), (8, 8)](A, B, C)
    D = np.zeros_like(C)
    watch(tiled_by(8)[(1, 2), (8, 8)], A, B, D)
    assert (C == D).all()


# Pictures


def column(pad):
    @cuda.jit
    def kernel(x, out):
        s = cuda.shared.array((32, 32 + pad), np.float32)
        t = cuda.threadIdx.x
        for i in range(32):
            s[i, t] = x[i, t]
        cuda.syncthreads()
        for i in range(32):
            out[i, t] = s[t, i]

    return kernel


def strided(count):
    @cuda.jit
    def kernel(x, out):
        i = cuda.grid(1)
        if i < out.size:
            out[i] = x[3 * i]

    return watch(kernel[-(-count // 64), 64], np.ones(3 * count), np.ones(count))


@pytest.fixture(scope="module")
def transposed():
    """Reports of a transposition by way of shared memory, without padding and with."""
    square = np.ones((32, 32), np.float32)
    return [watch(column(pad)[1, 32], square, np.empty_like(square)) for pad in (0, 1)]


def drawn(picture):
    """(colours of the first axes' cells, texts in them as {(row, column): text})."""
    ax = picture.axes[0]
    texts = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in ax.texts}
    return np.asarray(ax.images[0].get_array()), {at: text for at, text in texts.items() if text}


def color(name):
    return tuple(int(name[i : i + 2], 16) / 255 for i in (1, 3, 5))


def test_a_picture_shows_which_block_writes_what(product):
    colors, texts = drawn(pictures.touches(product[0], "C", by="block", way="writes"))
    assert colors.shape == (16, 24, 3)
    assert all(texts[i, j] == str(i // 8 * 3 + j // 8) for i in range(16) for j in range(24))
    assert len({tuple(each) for each in colors.reshape(-1, 3)}) == 6


def test_a_picture_shows_what_several_touch_and_what_nobody_does(product):
    colors, texts = drawn(pictures.touches(product[0], "A", by="block"))
    assert set(texts.values()) == {"×3"}
    colors, texts = drawn(pictures.touches(product[0], "A", by="thread", block=4))
    assert [texts[8, j] for j in range(10)] == ["0", "1", "2", "3", "4", "5", "6", "7", "0", "1"]
    assert (0, 0) not in texts
    assert tuple(colors[0, 0]) == color(pictures.FAINT)


def test_a_picture_of_one_axis_is_broken_into_rows():
    picture = pictures.touches(strided(127), "x", by="warp")
    colors, texts = drawn(picture)
    assert colors.shape == (12, 32, 3)
    assert [texts.get((0, j)) for j in range(4)] == ["0", None, None, "0"]
    assert [each.get_text() for each in picture.axes[0].get_yticklabels()][:2] == ["0", "64"]


def test_a_picture_shows_the_tile_move(product):
    picture = pictures.tiles(product[0], "A", "B", block=4)
    assert len(picture.axes) == 8
    blue = [np.asarray(ax.images[0].get_array()) == color(pictures.BLUE) for ax in picture.axes]
    for step in range(4):
        rows, columns = np.nonzero(blue[step].all(axis=2))
        assert (rows.min(), rows.max()) == (8, 15)
        assert (columns.min(), columns.max()) == (8 * step, 8 * step + 7)
        rows, columns = np.nonzero(blue[4 + step].all(axis=2))
        assert (rows.min(), columns.min(), columns.max()) == (8 * step, 8, 15)


def test_a_picture_shows_banks_and_their_conflicts(transposed):
    conflicting, padded = transposed
    line = conflicting.kernel.function.__code__.co_firstlineno + 8
    colors, texts = drawn(pictures.banks(conflicting, "s", line))
    assert texts == {(i, 0): str(i) for i in range(32)}
    assert tuple(colors[3, 0]) == color(pictures.VERMILLION)
    picture = pictures.banks(padded, "s", line)
    colors, texts = drawn(picture)
    assert sorted(map(int, texts.values())) == list(range(32))
    assert sorted(column for _, column in texts) == list(range(32))
    assert color(pictures.VERMILLION) not in {tuple(each) for each in colors.reshape(-1, 3)}
    assert "1 wavefront)" in picture.axes[0].get_title(loc="left")


def test_a_picture_of_banks_shows_the_worst_request():
    where = [*range(32), *range(0, 256, 8)]
    report = watch(patterned(shared=True)[1, 64], X, np.array(where), X)
    _, texts = drawn(picture := pictures.banks(report, "s"))
    assert "8 wavefronts" in picture.axes[0].get_title(loc="left")
    assert [texts[row, 0] for row in range(8)] == [str(4 * row) for row in range(8)]


def test_pictures_say_what_they_do_not_know(product):
    with pytest.raises(ValueError, match="no array 'D'; this launch has A, B, C, a, b"):
        pictures.touches(product[0], "D")
    with pytest.raises(ValueError, match="nobody touches a at line 1"):
        pictures.banks(product[0], "a", line=1)
    with pytest.raises(ValueError, match="block 99 reads nothing of A"):
        pictures.tiles(product[0], "A", block=99)


@pytest.mark.parametrize("which", ["thread", "block", "many", "line", "tiles", "banks"])
def test_letters_of_pictures_can_be_read(which, product, transposed):
    report = product[0]
    picture = {
        "thread": lambda: pictures.touches(report, "A", block=4),
        "block": lambda: pictures.touches(report, "B", by="block", way="reads"),
        "many": lambda: pictures.touches(report, "C"),
        "line": lambda: pictures.touches(strided(127), "x", by="warp"),
        "tiles": lambda: pictures.tiles(report, "A", "B", block=2),
        "banks": lambda: pictures.banks(transposed[0], "s"),
    }[which]()
    picture.draw_without_rendering()
    width, height = picture.get_size_inches() * picture.dpi
    boxes = []
    for text in picture.findobj(lambda each: hasattr(each, "get_fontsize")):
        if text.get_text() and text.get_visible():
            assert text.get_fontsize() >= 12.5, text.get_text()
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
            boxes.append((box.x0, box.y0, box.x1, box.y1))
    x0, y0, x1, y1 = np.array(boxes).T
    over = (x0[:, None] < x1) & (x0 < x1[:, None]) & (y0[:, None] < y1) & (y0 < y1[:, None])
    assert not (over & ~np.eye(len(over), dtype=bool)).any()


def test_a_notebook_shows_a_picture(product):
    assert pictures.tiles(product[0], "A")._repr_png_()[:4] == b"\x89PNG"


def test_kernels_need_neither_a_gpu_nor_the_library():
    heavy = "minigrad", "matplotlib", "cupy", "numba"
    code = "import sys, kernels.watch, kernels.pictures\n"
    code += f"print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
