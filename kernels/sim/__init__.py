"""A simulator of a GPU: kernels run as plain Python, one thread at a time, in a fixed order.

To be read in this order: machine.py (blocks, threads, and who waits for whom), arrays.py (arrays
with ends), api.py (what a kernel calls), intrinsics.py (what ptx.py's instructions are made of) and
warpgroup.py (Hopper's); then, for watching, trace.py (each access), requests.py (what it costs) and
races.py (what nothing puts in order).
"""
