"""Remake digits.npz from scikit-learn, which must be installed for it (nothing else needs it).

Run it as ``python -m minigrad.data.make_digits``. README.md beside this file says what is inside.
"""

from pathlib import Path

import numpy as np

from minigrad.files import replacing


def main():
    """Write the images as they are, 0 to 16 in one byte each, with their labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    if not np.array_equal(images, digits.images) or images.shape != (1797, 8, 8):
        raise ValueError(f"not the digits expected: shape {images.shape}, maximum {images.max()}")
    target = Path(__file__).with_name("digits.npz")
    with replacing(target) as file:
        np.savez_compressed(file, images=images, labels=labels)
    print(f"{target}: {len(images)} images, {np.bincount(labels)} of each digit")


if __name__ == "__main__":
    main()
