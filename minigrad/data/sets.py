"""The data sets bundled with the package; README.md beside this file says where they come from."""

import functools
import gzip
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent


@functools.cache
def shakespeare():
    """Shakespeare's plays and poems as one string of 5,035,157 characters, 65 different ones.

    Works follow one another in the order of their file names, so the end (from *Troilus and
    Cressida* on, about a tenth) can be held out. Read once, then kept.
    """
    return gzip.decompress((FOLDER / "shakespeare.txt.gz").read_bytes()).decode("ascii")


def digits():
    """Handwritten digits: 1,797 images of 8×8 pixels, and which digit each one shows.

    Returns:
        images: float32 (1797, 8, 8), from 0 (paper) to 1 (ink).
        labels: int64 (1797,), from 0 to 9.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.
    """
    with np.load(FOLDER / "digits.npz", allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    return images.astype(np.float32) / 16, labels.astype(np.int64)
