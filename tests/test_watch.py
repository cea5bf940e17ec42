"""``minigrad watch``, in a terminal of its own and without one."""

import codecs
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tiny_course

from minigrad.course import keys, learner, progress

pty = pytest.importorskip("pty", reason="needs POSIX terminals")
termios = pytest.importorskip("termios", reason="needs POSIX terminals")

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "minigrad.course.cli", "watch"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "NO_COLOR"},
    "PYTHONPATH": str(ROOT),
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUTF8": "1",
    "TERM": "xterm",
}
PATIENCE = 60
HALF = "\n\ndef total(x):\n    return 0.0\n"
HELP = "h hint"


@pytest.fixture
def course(tmp_path):
    return tiny_course.write(tmp_path)


class Terminal:
    """A `minigrad watch` in a terminal of 80 columns and 24 lines, and what it has shown."""

    def __init__(self, course, *words):
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (24, 80))
        self.before = termios.tcgetattr(self.slave)
        self.shown, self.lock = "", threading.Lock()
        self.process = subprocess.Popen(
            [*COMMAND, *words],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            cwd=course.folder.parent,
            env=ENVIRONMENT,
            start_new_session=True,
            preexec_fn=self._own_terminal,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _own_terminal(self):
        import fcntl

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def _read(self):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read may end in a character
        with contextlib.suppress(OSError):
            while data := os.read(self.master, 1 << 16):
                with self.lock:
                    self.shown += decoder.decode(data)

    def until(self, *words):
        """Wait for a screen that holds all the words and is complete; returns it as plain text."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            screen = self.screen()
            if all(word in screen for word in words):
                return screen
            time.sleep(0.02)
        raise AssertionError(f"{words} did not appear in time; there is:\n{self.screen()}")

    def screen(self):
        """The last screen, without colours."""
        with self.lock:
            last = self.shown.rpartition("\x1b[H")[2]
        return re.sub(r"\x1b\[\d*m", "", last).replace("\r\n", "\n")

    def press(self, key):
        """Press a key, of which the screen so far is forgotten."""
        with self.lock:
            self.shown = ""
        os.write(self.master, key.encode())

    def forget(self):
        """Forget what was shown, so that `until` waits for something new."""
        with self.lock:
            self.shown = ""

    def end(self):
        """The exit status, and whether the terminal is as it was."""
        status = self.process.wait(PATIENCE)
        return status, termios.tcgetattr(self.slave) == self.before


@pytest.fixture
def terminal(course):
    opened = []

    def open_one(*words):
        opened.append(Terminal(course, *words))
        return opened[-1]

    yield open_one
    for one in opened:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        os.close(one.master)
        os.close(one.slave)


def answer(course, number="01"):
    return progress.answer_file(course, course.exercise(number))


def test_it_shows_what_to_do_checks_on_save_and_moves_on(course, terminal):
    watch = terminal()
    screen = watch.until("01  Doubling", "double every number", "0 of 2 exercises", HELP)
    assert len(screen.splitlines()) <= 24
    tiny_course.solve(course, "01", HALF)
    screen = watch.until("A wrong answer", "total", "expected", "1 of 2 functions are right", HELP)
    assert len(screen.splitlines()) <= 24
    tiny_course.solve(course, "01")
    watch.until("✓ 01 passed, 6 of 6 points.", "02  Shapes", "1 of 2 exercises", HELP)
    tiny_course.solve(course, "02")
    watch.until("Every exercise is passed")
    assert watch.end() == (0, True)


def test_its_keys(course, terminal):
    tiny_course.solve(course, "01", HALF)
    watch = terminal("01")
    watch.until("A wrong answer", HELP)
    watch.press("h")
    watch.until("Hint 1 of 3: Begin with nothing.", HELP)
    watch.press("h")
    watch.until("Hint 2 of 3:", HELP)
    watch.press("l")
    watch.until("· 01  Doubling", "3/6", "here", "· 02  Shapes", HELP)
    watch.press("x")
    watch.until("A wrong answer", "Hint 2 of 3:", HELP)
    watch.press("\x1b[A")
    watch.press("r")
    watch.until("A wrong answer", HELP)
    watch.press("n")
    watch.until("02  Shapes", HELP)
    watch.press("n")
    watch.until("01  Doubling", HELP)
    watch.press("q")
    assert watch.end() == (0, True)
    assert progress.load(course).of(course.exercise("01")).hints == {"total": 2}


def test_it_follows_the_file_that_is_saved(course, terminal):
    watch = terminal("01")
    watch.until("01  Doubling", HELP)
    answer(course, "02").write_text("def rows(x):\n    return 2\n")
    watch.until("02  Shapes", "Likely mistake: these are the columns.", HELP)


def test_editors_that_rename_write_in_pieces_or_delete_do_not_end_it(course, terminal, tmp_path):
    watch = terminal("01")
    watch.until("01  Doubling", HELP)
    saved = tmp_path / "saved.py"
    saved.write_text("def double(x):\n    return 7\n")
    os.replace(saved, answer(course))
    watch.until("A wrong answer", HELP)
    with open(answer(course), "w") as file:
        file.write("def double(x):\n    retu")
        file.flush()
        time.sleep(0.5)  # long enough to be seen half written
        file.write("rn x[0]\n")
    watch.until("A crash", HELP)
    answer(course).unlink()
    watch.until("There is no file", "minigrad reset 01", HELP)
    answer(course).write_bytes(b"\xff\x00")
    watch.until("The file cannot be read", HELP)
    watch.press("h")
    watch.until("First mend the file", HELP)
    tiny_course.solve(course, "01", HALF)
    watch.until("1 of 2 functions are right", HELP)
    assert watch.process.poll() is None


def test_ctrl_c_ends_it_cleanly(course, terminal):
    watch = terminal()
    watch.until("01  Doubling", HELP)
    watch.press("\x03")
    watch.until("minigrad: stopped.")
    assert watch.end() == (130, True)
    assert "Traceback" not in watch.shown


def test_ctrl_c_in_the_middle_of_a_check_ends_it_too(course, terminal):
    begun = course.folder / "begun"
    loop = f"import pathlib\npathlib.Path({str(begun)!r}).touch()\nwhile True:\n    pass\n"
    answer(course).write_text(loop)
    watch = terminal("01")
    end = time.monotonic() + PATIENCE
    while not begun.exists() and time.monotonic() < end:
        time.sleep(0.02)
    watch.press("\x03")
    assert watch.end() == (130, True)
    assert "Traceback" not in watch.shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_the_terminal_as_it_was(terminal, number):
    watch = terminal()
    watch.until("01  Doubling", HELP)
    assert termios.tcgetattr(watch.slave) != watch.before
    watch.process.send_signal(number)
    assert watch.end()[1]


def test_after_ctrl_z_it_shows_its_screen_again(terminal):
    watch = terminal()
    watch.until("01  Doubling", HELP)
    watch.forget()
    # Without a shell above it the process is not stopped, but goes through the same motions.
    watch.process.send_signal(signal.SIGTSTP)
    watch.until("01  Doubling", HELP)
    watch.press("q")
    assert watch.end() == (0, True)


def test_manual_checks_on_enter_only(course, terminal):
    watch = terminal("01", "--manual")
    watch.until("01  Doubling", HELP)
    watch.forget()
    tiny_course.solve(course, "01", HALF)
    time.sleep(1)
    assert watch.screen() == ""
    watch.press("\n")
    watch.until("A wrong answer", HELP)
    watch.press("q")
    assert watch.end() == (0, True)


def test_without_a_terminal_it_prints_anew_and_without_colours(course):
    process = subprocess.Popen(
        COMMAND,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=course.folder.parent,
        env=ENVIRONMENT,
    )
    timer = threading.Timer(PATIENCE, process.kill)
    timer.start()
    shown = ""
    for line in process.stdout:
        shown += line
        if "of 2 exercises, 0 of 10" in line:
            tiny_course.solve(course, "01")
        elif "of 2 exercises, 6 of 10" in line:
            tiny_course.solve(course, "02")
    timer.cancel()
    assert process.wait(PATIENCE) == 0
    assert "\x1b" not in shown
    for words in ("01  Doubling", "✓ 01 passed", "02  Shapes", "Every exercise is passed"):
        assert words in shown


def test_without_a_terminal_manual_takes_lines(course):
    tiny_course.solve(course, "01", HALF)
    found = subprocess.run(
        [*COMMAND, "01", "--manual"],
        input="h\nn\n\nl\n",
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=course.folder.parent,
        env=ENVIRONMENT,
        timeout=PATIENCE,
    )
    assert (found.returncode, found.stderr) == (0, "")
    places = [
        found.stdout.index(words) for words in ("A wrong answer", "Hint 1 of 3", "02  Shapes")
    ]
    assert places == sorted(places)
    assert "here" in found.stdout[places[-1] :]


def test_a_system_without_termios_is_no_obstacle(monkeypatch):
    monkeypatch.setattr(keys, "termios", None)
    with keys.keyboard() as keyboard:
        assert not keyboard.live
        assert keyboard.wait(0.01) == ""


def test_when_all_is_passed_there_is_nothing_to_watch(course):
    for number in ("01", "02"):
        tiny_course.solve(course, number)
        learner.check(course, course.exercise(number))
    found = subprocess.run(
        COMMAND,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=course.folder.parent,
        env=ENVIRONMENT,
        timeout=PATIENCE,
    )
    assert found.returncode == 0
    assert "Every exercise is passed" in found.stdout
