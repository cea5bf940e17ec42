"""The command line: what it prints, what it imports, and how it ends."""

import importlib
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

import minigrad
from minigrad.course import cli

ROOT = Path(__file__).resolve().parents[1]
SLOW_TO_IMPORT = ["numba", "cupy", "matplotlib", "tqdm", "torch", "IPython"]


@pytest.fixture
def command(monkeypatch):
    """Puts a sub-command `probe` in the table that runs the function it is given."""

    def install(run, add_arguments=lambda parser: None):
        module = types.ModuleType("minigrad.course.probe")
        module.run, module.add_arguments = run, add_arguments
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.COMMANDS, "probe", cli.Command(module.__name__, "of the tests"))

    return install


def run_python(code, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        **options,
    )


def test_minigrad_alone_says_what_there_is_and_what_to_do_first(capsys):
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"minigrad {name}" in shown
    assert shown.index("minigrad tour") < shown.index("minigrad doctor")


def test_help_lists_every_command_and_imports_none_of_them():
    code = (
        "import sys; from minigrad.course import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"print([m for m in {SLOW_TO_IMPORT} if m in sys.modules])\n"
        "print([m for m in cli.COMMANDS if 'minigrad.course.' + m in sys.modules])"
    )
    found = run_python(code)
    assert found.returncode == 0, found.stderr
    for name, entry in cli.COMMANDS.items():
        assert name in found.stdout
        assert entry.help in " ".join(found.stdout.split())
    assert found.stdout.splitlines()[-2:] == ["[]", "[]"]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_exists_and_imports_nothing_slow_before_it_runs(name):
    code = (
        "import sys; from minigrad.course import cli\n"
        f"try: cli.main([{name!r}, '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"print([m for m in {SLOW_TO_IMPORT} if m in sys.modules])"
    )
    found = run_python(code)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(f"usage: minigrad {name}")
    assert found.stdout.splitlines()[-1] == "[]"
    module = importlib.import_module(cli.COMMANDS[name].module)
    assert callable(module.run)


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"minigrad {minigrad.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["docter"], "no command 'docter'; did you mean 'minigrad doctor'?"),
        (["xyzzy"], "no command 'xyzzy'; there are: tour, train, sample, doctor"),
        (["doctor", "--jsn"], "unrecognized arguments: --jsn"),
        (["--quick"], "COMMAND"),
    ],
)
def test_a_wrong_command_line_is_explained_and_ends_with_status_2(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_a_command_gets_its_arguments_and_gives_the_exit_status(command):
    seen = []

    def run(arguments):
        seen.append(arguments.depth)
        return 7

    command(run, lambda parser: parser.add_argument("--depth", type=int, default=1))
    assert cli.main(["probe", "--depth", "3"]) == 7
    assert seen == [3]


def test_a_command_that_returns_nothing_has_succeeded(command):
    command(lambda arguments: None)
    assert cli.main(["probe"]) == 0


def test_errors_of_a_command_are_not_hidden(command):
    def run(arguments):
        raise RuntimeError("a bug")

    command(run)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["probe"])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one child process")
def test_ctrl_c_ends_with_status_130_and_one_line():
    code = (
        "import sys, time, types; from minigrad.course import cli\n"
        "probe = types.ModuleType('minigrad.course.probe')\n"
        "probe.add_arguments = lambda parser: None\n"
        "def run(arguments):\n"
        "    print('running', flush=True)\n"
        "    time.sleep(60)\n"
        "probe.run = run\n"
        "sys.modules['minigrad.course.probe'] = probe\n"
        "cli.COMMANDS['probe'] = cli.Command('minigrad.course.probe', 'of the tests')\n"
        "sys.exit(cli.main(['probe']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == "running\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode == 130
    assert complaint == "\nminigrad: stopped.\n"


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_reader_that_leaves_early_is_no_error():
    code = "import sys; from minigrad.course import cli; sys.exit(cli.main(['--help']))"
    shell = f'{sys.executable} -c "{code}" | head -n 1'
    found = subprocess.run(
        ["bash", "-c", shell],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert found.stdout.startswith("usage: minigrad")
    assert found.stderr == ""


def test_the_first_words_come_before_anything_slow():
    """Three seconds are promised; what decides them is what is imported before the words."""
    code = (
        "import sys; from minigrad.course import cli\n"
        "class Stop(Exception): pass\n"
        "def stop(text):\n"
        "    if text.strip():\n"
        f"        loaded = [m for m in {SLOW_TO_IMPORT} if m in sys.modules]\n"
        "        sys.stderr.write(repr(loaded)); raise Stop\n"
        "sys.stdout = type('Screen', (), {'write': staticmethod(stop), 'flush': lambda self: 0,\n"
        "                  'isatty': lambda self: False})()\n"
        "try: cli.main(['tour', '--quick'])\n"
        "except Stop: pass"
    )
    found = run_python(code)
    assert found.stderr == "[]"
