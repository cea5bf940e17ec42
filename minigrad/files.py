"""Files that are either the old one or the new one, never half of each."""

import contextlib
import os
import tempfile
from pathlib import Path


@contextlib.contextmanager
def replacing(path, mode="wb", **options):
    """A file to write, which takes the place of ``path`` only once it is whole and on disk.

    It is written beside ``path`` under a temporary name, flushed, and renamed. When the block
    raises, ``path`` is left as it was and the temporary file is removed.

    Args:
        path: the file to make or replace; its folder must exist.
        mode: ``"wb"`` or ``"w"``.
        options: further arguments of :func:`open`, such as ``encoding``.

    Raises OSError when the folder cannot be written.
    """
    path = Path(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode if path.exists() else 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _umask():
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
