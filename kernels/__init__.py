"""GPU kernels in Numba-CUDA, on plain arrays: CuPy's on a GPU, NumPy's on a simulator of one.

Every kernel takes its words from ``cuda`` and ``ptx``; see _cuda.py for the language.
"""

from kernels import _cuda as cuda
