"""Single keys from a terminal that is put back as it was, whatever happens."""

import contextlib
import os
import re
import select
import signal
import sys
import time

from minigrad.course import screens

try:
    import termios
    import tty
except ImportError:  # Windows
    termios = None

END = "q"
#: what arrows and the like send
SEVERAL = re.compile(r"\x1b(\[[\d;]*[A-Za-z~]|O[A-Z])?")


class NoKeys:
    """Stands in for a keyboard where there is no terminal to read keys from.

    Args:
        lines: whether lines of the standard input stand for keys, by their first letter.
    """

    live = False

    def __init__(self, lines=False):
        self.lines = lines

    def wait(self, seconds):
        """Sleep, or wait for a line: its first letter, Enter for an empty one, END after all."""
        if not self.lines:
            time.sleep(seconds)
            return ""
        line = sys.stdin.readline()
        return (line.strip()[:1].lower() or "\n") if line else END


class Keyboard:
    """Keys of the terminal, one at a time, without Enter and without being shown."""

    live = True

    def __init__(self):
        self.descriptor = sys.stdin.fileno()
        self.before = termios.tcgetattr(self.descriptor)
        self.typed = []
        self.woken = False

    def wait(self, seconds):
        """The next key, in lower case; "" if none is pressed in time."""
        if not self.typed and select.select([self.descriptor], [], [], seconds)[0]:
            data = os.read(self.descriptor, 64)
            if not data:
                return END
            self.typed = list(SEVERAL.sub("", data.decode("utf-8", "ignore")).lower())
        return self.typed.pop(0) if self.typed else ""

    def take(self):
        """Ask the terminal for keys as they are pressed."""
        tty.setcbreak(self.descriptor, termios.TCSADRAIN)

    def give_back(self):
        """Put the terminal back as it was."""
        termios.tcsetattr(self.descriptor, termios.TCSADRAIN, self.before)

    def die(self, number, _):
        """SIGTERM: an exception could be caught by whatever runs just now."""
        self.give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def sleep(self, *_):
        """Ctrl-Z: the shell gets its terminal back until the command goes on."""
        self.give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        # Here it goes on.
        signal.signal(signal.SIGTSTP, self.sleep)
        self.take()
        self.woken = True


@contextlib.contextmanager
def keyboard(lines=False):
    """A `Keyboard`, or `NoKeys` where the input or the output is no terminal of ours.

    The terminal is put back as it was when the block ends, and when a signal ends the process.
    """
    if not _is_ours():
        yield NoKeys(lines)
        return
    keys = Keyboard()
    handlers = {signal.SIGTERM: keys.die, signal.SIGTSTP: keys.sleep}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        keys.take()
        yield keys
    finally:
        keys.give_back()
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_ours():
    """Whether there is a terminal, and this process is not in its background."""
    if termios is None or not (sys.stdin.isatty() and screens.live()):
        return False
    return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
