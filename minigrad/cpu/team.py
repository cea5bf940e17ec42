"""Threads that share even short work, as decoding does hundreds of times for each token.

Waking a sleeping thread takes as long as a whole product of a row with a matrix. So helpers do not
sleep between jobs: they watch a **board**, on which the leader, the thread that calls, puts a job,
and whoever is free takes its next piece. The leader takes pieces too, and finishes the job alone if
nobody helps. A helper that has seen no job for a fraction of a millisecond goes to sleep.

The board is an array of numbers. TICKET holds the number of the job and that of its next piece in
one word, so that no piece of one job is taken for that of another: whoever reads the ticket, then
what the job is, and then exchanges the ticket for the next one without having been forestalled,
knows that the job was still the same. DONE counts the pieces that are finished.
"""

import os
import threading

import numpy as np
from numba import carray, types

from minigrad.cpu import one_query
from minigrad.cpu._jit import inner, jit
from minigrad.cpu.atomic import add, address, flags, floats, floats_at, look, rest, show, swap
from minigrad.cpu.few_rows import add_rows, add_up, dot_rows
from minigrad.cpu.threads import lend, num_threads

FEW = 4  # rows of x; with more of them the products themselves begin to count
PARTS = 8  # a product is the sum over so many blocks of rows, whatever the number of threads
WIDE = 4096  # columns from which on it is cut into columns instead
COLUMNS = 512  # and so many columns then make a piece
PATIENCE = 5_000  # looks at the board before a helper goes to sleep

# The board. Entries that change at different times are 64 bytes apart, in cache lines of their own.
TICKET, DONE, AWAKE, JOB = 0, 8, 16, 24
PIECE_BITS = 24
CLOSED = (1 << PIECE_BITS) - 1  # a piece that no job has

# A job of products: how many pieces, PRODUCTS, M, K, address of x, how many matrices, and for each
# its kind, pieces, N, and the addresses of w, of the sums and of out.
PRODUCTS, ATTENTION = 0, 1
PIECES, WHAT, ROWS, INNER, X, COUNT, FIRST = range(JOB, JOB + 7)
KIND, OWN_PIECES, WIDTH, W, SUMS, OUT, FIELDS = range(7)
BY_ROWS, BY_COLUMNS, TURNED = range(3)

NONE_LEFT, TAKEN, FORESTALLED = range(3)

BOARD = types.int64[::1]
MATRIX = types.Array(types.float32, 2, "C", readonly=True)


class Team:
    """A board, its scratch memory, and the helpers that watch it."""

    def __init__(self):
        self.process = os.getpid()
        self.lock = threading.Lock()  # who leads
        self.board = np.zeros(128, np.int64)
        self.board[TICKET] = CLOSED
        self.sums = np.empty(3 * PARTS * FEW * WIDE, np.float32)

    def call_helpers(self):
        """Wake sleeping threads, as many as may help; they come while the leader works."""
        missing = num_threads() - 1 - int(self.board[AWAKE])
        if missing > 0:
            _count(self.board, missing)
            lend(self, missing)

    def work(self):
        """What a helper does."""
        _help(self.board)


_team = None
_making = threading.Lock()


def team():
    """The team of this process (a fork inherits no threads)."""
    global _team
    if _team is None or _team.process != os.getpid():
        with _making:
            if _team is None or _team.process != os.getpid():
                _team = Team()
    return _team


@inner()
def begin(board, x):
    """Start a job of products with x (M, K), C-contiguous."""
    board[WHAT], board[PIECES], board[COUNT] = PRODUCTS, 0, 0
    board[ROWS], board[INNER], board[X] = x.shape[0], x.shape[1], address(x)


@inner()
def give(board, w, turned, sums, out):
    """Add out (M, N) = x @ w to the job, w (K, N); or x @ w.T for w (N, K) if `turned`.

    sums: memory for PARTS * M * N numbers where N is below WIDE. Gives what is left of it.
    """
    M, N = out.shape
    at = FIRST + FIELDS * board[COUNT]
    kind = TURNED if turned else (BY_COLUMNS if N >= WIDE else BY_ROWS)
    pieces = PARTS if kind == BY_ROWS else (N + COLUMNS - 1) // COLUMNS
    board[at + KIND], board[at + OWN_PIECES], board[at + WIDTH] = kind, pieces, N
    board[at + W], board[at + SUMS], board[at + OUT] = address(w), address(sums), address(out)
    board[PIECES] += pieces
    board[COUNT] += 1
    return sums[PARTS * M * N :] if kind == BY_ROWS else sums


@inner()
def finish(board, kept):
    """Do the job on the board with whoever helps.

    kept: an array that the board knows by its address alone, so that it lives on until here.
    """
    number = (look(board, TICKET) >> PIECE_BITS) + 1
    show(board, DONE, 0)
    show(board, TICKET, number << PIECE_BITS)
    while take_piece(board) != NONE_LEFT:
        pass
    while look(board, DONE) < board[PIECES]:
        rest()
    show(board, TICKET, (number << PIECE_BITS) | CLOSED)
    if board[WHAT] == PRODUCTS:
        for i in range(board[COUNT]):
            at = FIRST + FIELDS * i
            if board[at + KIND] == BY_ROWS:
                size = board[ROWS] * board[at + WIDTH]
                sums = carray(floats(board[at + SUMS]), (PARTS, size))
                add_up(sums, carray(floats(board[at + OUT]), (size,)))


@inner()
def take_piece(board):
    """Do the next piece of the job on the board: TAKEN, FORESTALLED, or NONE_LEFT."""
    ticket = look(board, TICKET)
    piece = ticket & CLOSED
    if piece >= board[PIECES]:
        return NONE_LEFT
    if not swap(board, TICKET, ticket, ticket + 1):
        return FORESTALLED
    # From here on until DONE counts this piece, the leader leaves the job as it is.
    if board[WHAT] == PRODUCTS:
        _product_piece(board, piece)
    else:
        _attention_piece(board, piece)
    add(board, DONE, 1)
    return TAKEN


@inner()
def _product_piece(board, piece):
    M, K, at = board[ROWS], board[INNER], FIRST
    while piece >= board[at + OWN_PIECES]:
        piece -= board[at + OWN_PIECES]
        at += FIELDS
    kind, N = board[at + KIND], board[at + WIDTH]
    x, w = carray(floats(board[X]), (M, K)), floats(board[at + W])
    target, zero = board[at + OUT], types.int64(0)
    first, last, left, right = zero, K, piece * COLUMNS, min((piece + 1) * COLUMNS, N)
    if kind == BY_ROWS:
        first, last, left, right = piece * K // PARTS, (piece + 1) * K // PARTS, zero, N
        target = board[at + SUMS] + 4 * piece * M * N
    out = carray(floats(target), (M, N))
    if kind == TURNED:
        dot_rows(x, carray(w, (N, K)), left, right, out)
    else:
        add_rows(x, carray(w, (K, N)), first, last, left, right, out)


@inner()
def begin_attention(board, q, k, v, visible, scores, mixed, lse):
    """Start a job of attention; the arrays are those of ``one_query``, in float32."""
    board[WHAT], board[PIECES] = ATTENTION, len(lse)
    at = board[FIRST:]
    B, n_kv, group, H = q.shape
    at[0], at[1], at[2], at[3], at[4] = B, n_kv, group, H, k.shape[2]
    at[5], at[6] = v.shape[3], visible.shape[1]
    at[7], at[8], at[9] = k.strides[0], k.strides[1], k.strides[2]
    at[10], at[11], at[12] = v.strides[0], v.strides[1], v.strides[2]
    at[13], at[14], at[15] = address(q), address(k), address(v)
    at[16], at[17], at[18], at[19] = address(scores), address(mixed), address(lse), address(visible)


@inner()
def _attention_piece(board, piece):
    at = board[FIRST:]
    B, n_kv, group, H, Lk, Hv, seen = at[0], at[1], at[2], at[3], at[4], at[5], at[6]
    units, q = board[PIECES], carray(floats(at[13]), (B, n_kv, group, H))
    k = floats_at(at[14], (B, n_kv, Lk, H), (at[7], at[8], at[9], 4))
    v = floats_at(at[15], (B, n_kv, Lk, Hv), (at[10], at[11], at[12], 4))
    scores = carray(floats(at[16]), (units, group, one_query.PART))
    mixed, lse = carray(floats(at[17]), (units, group, Hv)), carray(floats(at[18]), (units, group))
    visible = carray(flags(at[19]), (B, seen))
    one_query.attend_unit(piece, q, k, v, visible, scores, mixed, lse)


@jit(signature=types.void(BOARD, types.int64))
def _count(board, helpers):
    add(board, AWAKE, helpers)


@jit(signature=types.void(BOARD))
def _help(board):
    waited = 0
    while waited < PATIENCE:
        if take_piece(board) != NONE_LEFT:
            waited = 0
        else:
            waited += 1
            rest()
    add(board, AWAKE, -1)
