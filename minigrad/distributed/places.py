"""Where in the source a call came from."""

import os
import sys
from pathlib import Path

PACKAGE = str(Path(__file__).parents[1]) + os.sep


def called_from():
    """() -> "file:line" of the call into minigrad that is being made."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
    code, line = frame.f_code, frame.f_lineno
    return lambda: f"{Path(code.co_filename).name}:{line}"
