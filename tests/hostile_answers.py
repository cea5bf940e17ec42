"""What students hand in who want to fool the grader, break it or look around, and honest ones.

Hostile ones are {what it does: (its ex01_sums.py, or all its files; the kinds of failures that it
may have; words that one of their messages holds)}.
"""

import textwrap

import graded_course

RIGHT = "\ndef double(x):\n    return 2 * x\n\ndef total(values):\n    return float(sum(values))\n"


def calling(line, before=""):
    """A file whose two functions do the same, written as one line of code."""
    return (
        f"import os, sys, time, numpy as np\n{textwrap.dedent(before)}\n"
        f"def double(x):\n    {line}\n\ndef total(x):\n    {line}\n"
    )


def returning(expression, before=""):
    return calling(f"return {expression}", before)


#: {what the answer does: (the file, or all files; kinds of its failures, words in one of them)}
DEATHS = {
    "exits when read": ("import sys\nsys.exit(0)" + RIGHT, "raised", "SystemExit: 0"),
    "ends its process when read": (
        "import os\nos._exit(0)" + RIGHT,
        "died",
        "ended its own process (exit status 0)",
    ),
    "exits in mid-call": (calling("sys.exit()"), "raised", "SystemExit"),
    "ends its process in mid-call": (calling("os._exit(0)"), "died", "exit status 0"),
    "kills itself": (calling("os.kill(os.getpid(), 9); return x"), "died wrong raised", ""),
    "kills everybody": (calling("os.kill(-1, 9); return x"), "died wrong raised", ""),
    "kills its group": (calling("os.killpg(0, 9); return x"), "died wrong raised", ""),
    "kills its parent": (calling("os.kill(os.getppid(), 9); return x"), "died wrong raised", ""),
    "crashes the interpreter": (
        calling("__import__('ctypes').string_at(0)"),
        "died",
        "the Python interpreter crashed (SIGSEGV)",
    ),
    "aborts": (calling("os.abort()"), "died", "crashed"),
    "loops and ignores signals": (
        calling(
            "\n    while True: pass",
            "import signal\n[signal.signal(s, signal.SIG_IGN) for s in "
            "signal.valid_signals() - {9, 19, 32, 33}]",
        ),
        "timed out",
        "may take 0.5 seconds",
    ),
    "loops when read": ("while True: pass" + RIGHT, "timed out", "may take 0.5 seconds"),
    "sleeps": (calling("time.sleep(1000)"), "timed out", "may take 0.5 seconds"),
    "stops itself": (calling("os.kill(os.getpid(), 19); return x"), "wrong raised", ""),
    "hangs in an uninterruptible sum": (
        calling("return sum(range(10 ** 15))"),
        "timed out",
        "may take 0.5 seconds",
    ),
    "prints without end": (calling("\n    while True: print('x' * 1000)"), "timed out", ""),
    "prints without end past print": (
        calling("\n    while True: os.write(1, b'x' * 9999); os.write(2, b'y' * 9999)"),
        "timed out",
        "",
    ),
    "recurses without end": (calling("return double(x)"), "raised", "RecursionError"),
    "recurses without a limit": (
        calling("return double(x)", "sys.setrecursionlimit(10 ** 9)"),
        "raised died timed out",
        "",
    ),
    "recurses in C without a limit": (
        calling(
            "\n    y = []\n    for _ in range(10 ** 6): y = [y]\n    repr(y)",
            "sys.setrecursionlimit(10 ** 9)",
        ),
        "raised died timed out",
        "",
    ),
    "takes 50 GB": (calling("return np.ones(50 << 27)"), "raised", "MemoryError"),
    "takes 50 GB of bytes": (calling("return len(bytearray(50 << 30))"), "raised", "MemoryError"),
    "takes memory bit by bit": (
        calling("\n    y = []\n    while True: y.append(bytearray(1 << 24))"),
        "raised timed out died",
        "",
    ),
    "returns more than can pass": (returning("np.zeros(10 ** 8)"), "not plain", "bytes; at most"),
    "returns a stretched array": (
        returning("np.broadcast_to(1.0, (10 ** 12,))"),
        "not plain",
        "bytes; at most",
    ),
    "forks without end": (
        calling("\n    while True: os.fork()"),
        "raised",
        "Operation not permitted",
    ),
    "leaves a daemon behind": (
        calling("return os.fork() or time.sleep(1000)"),
        "raised",
        "Operation not permitted",
    ),
    "starts a shell": (
        calling("__import__('subprocess').run(['/bin/sh', '-c', 'sleep 1000'])"),
        "raised",
        "Error",
    ),
    "starts threads": (
        calling("__import__('threading').Thread(target=print).start(); return x"),
        "raised",
        "can't start new thread",
    ),
    "starts threads with the C library": (
        calling(
            "return ctypes.CDLL(None).pthread_create(ctypes.byref(ctypes.c_long()), None, 1, None)",
            "import ctypes",
        ),
        "wrong",
        "",
    ),
    "fills the disk": (
        calling("\n    while True: open(f'/tmp/{time.time_ns()}', 'wb').write(b'x' * (7 << 20))"),
        "raised",
        "No space left on device",
    ),
    "makes files without end": (
        calling("\n    for i in range(10 ** 9): os.mkdir(f'/tmp/{i}')"),
        "raised",
        "No space left on device",
    ),
    "writes a large file": (
        calling("open('/tmp/large', 'wb').write(b'x' * (9 << 20)); return x"),
        "raised",
        "File too large",
    ),
    "opens files without end": (
        calling("\n    while True: os.dup(0)"),
        "raised",
        "Too many open files",
    ),
    "raises its limits": (
        calling(
            "[r.setrlimit(w, (r.RLIM_INFINITY,) * 2) for w in (r.RLIMIT_CPU, r.RLIMIT_AS)]",
            "import resource as r",
        ),
        "raised",
        "not allowed to raise maximum limit",
    ),
    "hangs when it ends": (
        "import atexit, time\natexit.register(time.sleep, 1000)\nimport sys\nsys.exit(1)",
        "raised",
        "SystemExit: 1",
    ),
    "hangs when it is thrown away": (
        calling("return Sticky()", "class Sticky:\n    def __del__(self): time.sleep(1000)"),
        "not plain timed out",
        "",
    ),
}

CHANNEL = """
    import os, struct, sys, time

    def frame(data):
        return struct.pack("<I", len(data)) + data

    def to_all(data):
        for fd in range(3, 64):
            try:
                os.write(fd, data)
            except OSError:
                pass

    def reply(value):
        plain = sys.modules["__main__"].plain
        return frame(plain.encode(("value", value, [])))
    """


def on_the_channel(line, before=""):
    return calling(line, textwrap.dedent(CHANNEL) + textwrap.dedent(before))


CHANNELS = {
    "pickles into the channel": (
        on_the_channel(
            "to_all(frame(pickle.dumps(Bomb())))\n    return x",
            """
            import pickle

            class Bomb:
                def __reduce__(self):
                    return (os._exit, (0,))
            """,
        ),
        "died wrong",
        "wrote",
    ),
    "floods the channel": (
        on_the_channel("\n    while True: to_all(b'x' * 99999)"),
        "died",
        "wrote",
    ),
    "floods the channel with zeros": (
        on_the_channel("\n    while True: to_all(bytes(99999))"),
        "died",
        "wrote",
    ),
    "sends half a frame and ends": (
        on_the_channel("to_all(struct.pack('<I', 1000) + b'half'); os._exit(0)"),
        "died",
        "exit status 0",
    ),
    "sends half a frame and waits": (
        on_the_channel("to_all(struct.pack('<I', 1000) + b'half'); time.sleep(1000)"),
        "timed out",
        "may take 0.5 seconds",
    ),
    "announces a frame too long": (
        on_the_channel("to_all(b'\\xff' * 4); time.sleep(1000)"),
        "died",
        "wrote",
    ),
    "closes everything": (calling("os.closerange(0, 64); time.sleep(1000)"), "died timed out", ""),
    "closes everything and goes on": (calling("os.closerange(0, 64); return x"), "died", ""),
    "answers in advance": (
        on_the_channel("[to_all(reply(v)) for v in (0.0, 1.0, None)]; return x"),
        "wrong died",
        "",
    ),
    "answers in advance and does not listen": (
        on_the_channel("to_all(reply(0.0)); time.sleep(1000)"),
        "wrong timed out",
        "",
    ),
    "claims to have passed": (
        on_the_channel(
            "to_all(frame(sys.modules['__main__'].plain.encode(('passed', 1, []))))\n    return x"
        ),
        "died wrong",
        "wrote something of its own",
    ),
    "claims an exception of endless length": (
        on_the_channel(
            "to_all(frame(sys.modules['__main__'].plain.encode(('raised', 'E' * 10 ** 6, 'm' * "
            "10 ** 6, [('f' * 10 ** 5, 1, 'g', 'h')] * 9)))); time.sleep(9)"
        ),
        "raised timed out",
        "",
    ),
    "sends keys that collide": (
        on_the_channel(
            "to_all(frame(encoded)); time.sleep(9)",
            """
            items = (b"i" + struct.pack("<I", 12) + (k * (2**61 - 1)).to_bytes(12, "little") + b"N"
                     for k in range(200_000))
            pairs = b"".join(items)
            encoded = b"t" + struct.pack("<I", 3) + b"s" + struct.pack("<I", 5) + b"value"
            encoded += b"d" + struct.pack("<I", 200_000) + pairs + b"l" + struct.pack("<I", 0)
            """,
        ),
        "died timed out",
        "",
    ),
    "sends a million items": (returning("[None] * 999_990"), "wrong not plain", ""),
    "replaces the one who replies": (
        calling(
            "return x",
            "w = sys.modules['__main__']\nw.write_frame = lambda file, data: os._exit(0)",
        ),
        "died",
        "exit status 0",
    ),
    "replaces the encoder": (
        calling(
            "return x",
            "sys.modules['__main__'].plain.encode = lambda value: b'T'",
        ),
        "died",
        "wrote something of its own",
    ),
    "ends the one who replies": (
        calling("raise KeyboardInterrupt"),
        "raised",
        "KeyboardInterrupt",
    ),
}

LIE = """
    class Lie:
        def __eq__(self, other): return True
        def __ne__(self, other): return False
        def __array__(self, *_, **__): return np.array([[2.0, 4.0, 8.0]])
        def __float__(self): return 7.5
        def __len__(self): return 1
        def __getitem__(self, key): return self
        def __getattr__(self, name): return self
        def __call__(self, *_, **__): return self
        def __sub__(self, other): return 0.0
        __rsub__ = __sub__
        def __abs__(self): return 0.0
        def __le__(self, other): return True
        __class__ = float
    """
VALUES = {
    "returns None": (returning("None"), "wrong", "got None"),
    "returns its input": (returning("x"), "wrong", "the input is returned"),
    "returns what equals everything": (returning("Lie()", LIE), "not plain", "Lie"),
    "returns a list of what equals everything": (returning("[Lie()]", LIE), "not plain", "[0]"),
    "returns an array of what equals everything": (
        returning("np.array([Lie()], dtype=object)", LIE),
        "not plain raised",
        "",
    ),
    "returns a float that equals everything": (
        returning(
            "F(7.5)",
            "class F(float):\n    __eq__ = lambda *_: True\n    __sub__ = lambda *_: 0.0",
        ),
        "not plain",
        "type ex01_sums.F",
    ),
    "returns a str of its own": (
        returning("S('x')", "class S(str):\n    __eq__ = lambda *_: True"),
        "not plain",
        "type ex01_sums.S",
    ),
    "returns an array of its own": (
        returning(
            "np.array([7.5]).view(A)",
            "class A(np.ndarray):\n    __array_ufunc__ = lambda *_, **__: True",
        ),
        "not plain",
        "type ex01_sums.A",
    ),
    "returns a matrix": (returning("np.matrix(x)"), "not plain", "matrix"),
    "returns a masked array": (
        returning("np.ma.masked_all((1, 3))"),
        "not plain raised",
        "",
    ),
    "returns records": (
        returning("np.zeros(3, dtype=[('a', 'f8')])"),
        "not plain",
        "an array of dtype",
    ),
    "returns dates": (returning("np.zeros(3, 'datetime64[s]')"), "not plain", "datetime64"),
    "returns texts": (returning("np.array(['7.5'])"), "not plain", "dtype <U3"),
    "returns another precision": (
        returning("(2 * np.asarray(x)).astype('float32')"),
        "wrong",
        "expected the dtype float64, got float32",
    ),
    "returns numbers that admit to be inexact": (
        returning("np.float16(np.sum(x) * 1.001) if isinstance(x, list) else np.float16(2 * x)"),
        "wrong",
        "",
    ),
    "returns whole numbers": (
        returning("np.array([[2, 4, 8]])"),
        "wrong",
        "expected the dtype float64, got int64",
    ),
    "returns a shape that broadcasts": (
        returning("2 * np.asarray(x)[..., :1]"),
        "wrong",
        "expected the shape (1, 3), got (1, 1)",
    ),
    "returns an axis too many": (
        returning("2 * np.asarray(x)[None]"),
        "wrong",
        "expected the shape (1, 3), got (1, 1, 3)",
    ),
    "returns lists for arrays": (
        returning("(2 * np.asarray(x)).tolist()"),
        "wrong",
        "expected an array of shape (1, 3)",
    ),
    "returns NaN everywhere": (returning("np.asarray(x) * np.nan"), "wrong", "got nan"),
    "returns infinity everywhere": (returning("np.asarray(x) + np.inf"), "wrong", "got inf"),
    "returns true": (returning("True"), "wrong", "got True"),
    "returns an empty array of a huge shape": (
        returning("np.zeros((0, 2 ** 40))"),
        "wrong",
        "got an array of shape (0, 1099511627776)",
    ),
    "returns 64 axes": (returning("np.zeros((1,) * 64)"), "wrong", "shape"),
    "returns a generator": (returning("(v for v in x)"), "not plain", "generator"),
    "is a generator": (calling("yield 2 * x"), "not plain", "generator"),
    "is a coroutine": (
        calling("return x").replace("def ", "async def "),
        "not plain",
        "coroutine",
    ),
    "returns a function": (returning("lambda: x"), "not plain", "function"),
    "returns a class": (returning("float"), "not plain", "type"),
    "returns bytes": (returning("b'7.5'"), "not plain", "bytes"),
    "returns a set": (returning("{7.5}"), "not plain", "set"),
    "returns an exact fraction": (
        returning("__import__('fractions').Fraction(15, 2)"),
        "not plain",
        "Fraction",
    ),
    "returns a list that holds itself": (
        returning("y", "y = []\ny.append(y)"),
        "not plain",
        "nested more than",
    ),
    "returns deep nesting": (
        calling("\n    y = x\n    for _ in range(10 ** 5): y = (y,)\n    return y"),
        "not plain",
        "nested more than",
    ),
    "returns a wide nest of lists": (
        calling("\n    y = [x] * 20\n    for _ in range(2): y = [y] * 20\n    return y"),
        "wrong not plain",
        "a list of 20",
    ),
    "returns half a character": (returning("'\\ud800'"), "wrong", "\\ud800"),
    "returns a number of a million digits": (returning("1 << 3_000_000"), "not plain", "an int of"),
    "returns a number too long to print": (returning("10 ** 5000"), "wrong", ""),
    "returns keys with a hash of their own": (
        returning("{K(): 1}", "class K(str):\n    __hash__ = lambda *_: 0"),
        "not plain",
        "key of type K",
    ),
    "returns keys that are tuples": (returning("{(1,): 1}"), "not plain", "key of type tuple"),
    "returns an exception": (returning("ValueError('x')"), "not plain", "ValueError"),
    "writes into its input": (
        calling("x[:] = [2 * v for v in x]; return x"),
        "changed its input",
        "changes its argument x in place",
    ),
    "changes its input and answers right": (
        "def double(x):\n    x *= 2\n    return x.copy()\n\n"
        "def total(values):\n    return sum(values.pop() for _ in list(values))\n",
        "changed its input",
        "changes its argument x in place",
    ),
}

ERRORS = {
    "raises what cannot be printed": (
        calling("raise E", "class E(Exception):\n    def __str__(self): raise self"),
        "raised",
        "cannot be printed",
    ),
    "raises what prints no text": (
        calling("raise E", "class E(Exception):\n    def __str__(self): return 5"),
        "raised",
        "cannot be printed",
    ),
    "raises what prints without end": (
        calling("raise E", "class E(Exception):\n    def __str__(self):\n        while True: pass"),
        "timed out",
        "may take 0.5 seconds",
    ),
    "raises a text of its own": (
        calling(
            "raise E",
            "class S(str):\n    def __getitem__(self, key): return self\n"
            "class E(Exception):\n    def __str__(self): return S('y' * 10 ** 6)",
        ),
        "raised died",
        "",
    ),
    "raises a long story": (calling("raise ValueError('y' * 10 ** 7)"), "raised", "yyy …"),
    "raises a name of its own": (
        calling("raise type('passed\\x1b[2J' + 'z' * 10 ** 6, (Exception,), {})()"),
        "raised died",
        "",
    ),
    "raises without a traceback": (
        calling(
            "raise E", "class E(Exception):\n    @property\n    def __traceback__(self): raise self"
        ),
        "raised died",
        "",
    ),
    "raises with a loop of causes": (
        calling(
            "\n    e = ValueError('round'); e.__context__ = e.__cause__ = e\n    raise e",
        ),
        "raised",
        "ValueError: round",
    ),
    "raises what is no exception": (calling("raise BaseException('base')"), "raised", "base"),
    "raises the end of a generator": (calling("raise GeneratorExit"), "raised", "GeneratorExit"),
    "raises what the grader raises": (
        calling("raise Wrong('passed')", "class Wrong(Exception): kind = 'passed'"),
        "raised",
        "Wrong: passed",
    ),
    "raises that it is unwritten": (
        calling("raise NotImplementedError"),
        "unwritten",
        "not written",
    ),
}

PATCHES = {
    "prints that it passed": (
        calling(
            'print(\'===== 3 passed in 0.01s =====\\n{"score": 9, "passed": true}\', flush=True); '
            "return x"
        ),
        "wrong",
        "",
    ),
    "prints a judgement where judges answer": (
        calling(
            "os.write(1, STORY); return x",
            'STORY = b\'{"exercise": "ex01_sums", "results": [], "output": ""}\\n\'',
        ),
        "wrong",
        "",
    ),
    "patches numpy.testing": (
        calling(
            "return x",
            "import numpy.testing\n"
            "for n in dir(np.testing): setattr(np.testing, n, lambda *a, **k: None)",
        ),
        "wrong",
        "",
    ),
    "patches numpy": (
        calling(
            "return x",
            "np.abs = np.isnan = np.array_equal = np.allclose = lambda *a, **k: np.bool_(True)\n"
            "np.ndarray = np.float64 = object",
        ),
        "wrong died not plain raised",
        "",
    ),
    "patches the builtins": (
        calling(
            "return x",
            "import builtins\nbuiltins.isinstance = lambda *_: True\n"
            "builtins.len = lambda _: 1\nbuiltins.type = lambda *_: float",
        ),
        "wrong died not plain raised changed its input timed out",
        "",
    ),
    "empties sys.modules": (calling("return x", "sys.modules.clear()"), "wrong died raised", ""),
    "imports pytest and ends its run": (
        calling("return x", "import pytest\npytest.exit('all passed', 0)"),
        "not allowed",
        "imports pytest",
    ),
    "imports minigrad": (
        calling("return x", "import minigrad"),
        "not allowed",
        "imports minigrad",
    ),
    "imports minigrad and hides it": (
        calling("return x", "try:\n    import minigrad\nexcept BaseException:\n    pass"),
        "not allowed",
        "imports minigrad",
    ),
    "calls what it should write": (
        calling("return np.einsum('...->...', 2 * np.asarray(x))"),
        "not allowed",
        "calls numpy.einsum",
    ),
    "traces whoever calls": (
        calling(
            "return x",
            """
            def trace(frame, event, argument):
                frame.f_locals["reply"] = 0
                return trace

            sys.settrace(trace)
            frame = sys._getframe()
            while frame:
                frame.f_trace, frame = trace, frame.f_back
            """,
        ),
        "wrong timed out died",
        "",
    ),
    "rewrites the functions that call it": (
        calling(
            "return x",
            "f = sys._getframe()\nwhile f.f_back: f = f.f_back\n"
            "f.f_globals['Student'].call = lambda *_: ('value', True, [])",
        ),
        "wrong",
        "",
    ),
    "has its own tests, settings and plugins": (
        {
            "ex01_sums.py": calling("return x"),
            "conftest.py": "import os\nprint('conftest was here')\nos._exit(0)\n",
            "pytest.ini": "[pytest]\naddopts = --collect-only\n",
            "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '--collect-only'\n",
            "test_ex01_sums.py": "def test_a_double_by_hand(): pass\n",
            "course.toml": graded_course.MANIFEST.replace("= 2,", "= 900,"),
            "_given.py": "import os\nos._exit(0)\n",
            "pytest.py": "import os\nos._exit(0)\n",
            "sitecustomize.py": "import os\nos._exit(0)\n",
            "usercustomize.py": "import os\nos._exit(0)\n",
            "minigrad/__init__.py": "import os\nos._exit(0)\n",
            "minigrad/course/__init__.py": "import os\nos._exit(0)\n",
            "evil-1.0.dist-info/entry_points.txt": "[pytest11]\nevil = conftest\n",
            "evil-1.0.dist-info/METADATA": "Name: evil\nVersion: 1.0\n",
            "evil.pth": "import os; os._exit(0)\n",
            "pyvenv.cfg": "home = /answer\n",
        },
        "wrong",
        "the input is returned",
    ),
    "has a numpy of its own": (
        {
            "ex01_sums.py": "import numpy as n\ndef double(x): return getattr(n, 'mine', x)\n",
            "numpy.py": "mine = 5\n",
            "numpy/__init__.py": "mine = 5\n",
            "json.py": "import os\nos._exit(0)\n",
            "linecache.py": "import os\nos._exit(0)\n",
        },
        "wrong missing",
        "the input is returned",
    ),
    "changes its own files": (
        calling(
            "spoil(); return x",
            """
            import contextlib

            def spoil():
                for path in (__file__, "/answer/ex02_shifts.py", "/given/_given.py"):
                    for act in (os.unlink, lambda p: os.chmod(p, 0), lambda p: open(p, "w")):
                        with contextlib.suppress(OSError):
                            act(path)
            """,
        ),
        "wrong",
        "",
    ),
}

FILES = {
    "has a syntax error": ("def double(x:\n    return x\n", "unreadable", "ex01_sums.py, line 1"),
    "has null bytes": (b"x = 1\0\n", "unreadable", "null bytes"),
    "is UTF-16": (RIGHT.encode("utf-16"), "unreadable", "ex01_sums.py"),
    "is no UTF-8": (b"name = 'caf\xe9'\n" + RIGHT.encode(), "unreadable", "ex01_sums.py"),
    "has an unknown coding": ("# coding: klingon\n" + RIGHT, "unreadable", "klingon"),
    "is empty": ("", "missing", "has no function double"),
    "is a million brackets": ("(" * 10**6, "unreadable", "ex01_sums.py"),
    "is a sum of a million numbers": ("1" + "+1" * 400_000, "unreadable raised died timed out", ""),
    "is nested too deep": ("-" * 10**5 + "1", "unreadable raised died timed out", ""),
    "is longer than a megabyte": ("#" * (1 << 20) + RIGHT, "unreadable", "1,048,576 bytes"),
    "is not there": ({"notes.txt": "sorry"}, "unreadable", "ex01_sums.py is not there"),
    "has a function that is none": ("double = total = 5\n", "missing", "has no function double"),
    "breaks the import of its name": (
        "import sys\nsys.modules[__name__] = None\n__name__ = 5\nraise ValueError(1)\n",
        "raised",
        "ValueError",
    ),
}

HOSTILE = {**DEATHS, **CHANNELS, **VALUES, **ERRORS, **PATCHES, **FILES}

HONEST = {
    "plain": RIGHT,
    "prints much": "print('read' * 10 ** 5)\n" + RIGHT.replace("    ", "    print(9 ** 999)\n    "),
    "warns": "import warnings\nwarnings.warn('old')\n"
    + RIGHT.replace("    ", "    __import__('numpy').float64(1) / 0\n    "),
    "uses most of its time": "import time\nend = time.process_time() + 0.4\n"
    "while time.process_time() < end: pass\n" + RIGHT,
    "waits a little": "import time\ntime.sleep(0.4)\n" + RIGHT,
    "mentions markers": RIGHT + 'TEXT = "### BEGIN SOLUTION"\n### END SOLUTION\n',
    "has helpers": {
        "ex01_sums.py": "import plain, worker, jail, rules, helper.inner\nimport numpy_utils\n"
        + RIGHT.replace("2 *", "plain.one * worker.one * jail.one * rules.one * numpy_utils.two *"),
        **{f"{name}.py": "one = 1\n" for name in ("plain", "worker", "jail", "rules")},
        "numpy_utils.py": "import numpy as np\ntwo = int(np.float64(2))\n",
        "helper/__init__.py": "",
        "helper/inner.py": "from . import other\n",
        "helper/other.py": "import helper\n",
        "data.txt": "numbers",
    },
    "reads a file beside it": {
        "ex01_sums.py": "import pathlib\nn = int(pathlib.Path(__file__).with_name('n').read_text())"
        + RIGHT.replace("2 *", "n *"),
        "n": "2",
    },
    "has a byte order mark": b"\xef\xbb\xbf" + RIGHT.encode(),
    "has carriage returns": RIGHT.replace("\n", "\r\n").encode(),
    "has a coding": b"# -*- coding: latin-1 -*-\n# caf\xe9\n" + RIGHT.encode(),
    "speaks Greek": RIGHT.replace("values", "τιμές").replace("x", "ξ"),
    "writes scratch files": "import tempfile\nopen(tempfile.mkstemp()[1], 'w').write('x')\n"
    + RIGHT,
    "has main": RIGHT + "if __name__ == '__main__':\n    raise SystemExit(1)\n",
    "has classes and caches": "import dataclasses, functools\n@dataclasses.dataclass\nclass P:\n"
    "    x: 'float' = 2\n@functools.cache\ndef two():\n    return P().x\n"
    + RIGHT.replace("2 *", "two() *"),
}

#: those that take seconds, and those that add little to their like
SLOW = {
    "exits when read",
    "kills its group",
    "loops when read",
    "sleeps",
    "hangs in an uninterruptible sum",
    "hangs when it is thrown away",
    "prints without end",
    "prints without end past print",
    "recurses without a limit",
    "recurses in C without a limit",
    "takes 50 GB of bytes",
    "takes memory bit by bit",
    "returns a stretched array",
    "leaves a daemon behind",
    "starts threads with the C library",
    "makes files without end",
    "writes a large file",
    "floods the channel with zeros",
    "sends half a frame and waits",
    "announces a frame too long",
    "closes everything",
    "claims an exception of endless length",
    "sends keys that collide",
    "sends a million items",
    "replaces the encoder",
    "returns an array of what equals everything",
    "returns a str of its own",
    "returns a matrix",
    "returns dates",
    "returns texts",
    "returns numbers that admit to be inexact",
    "returns an axis too many",
    "returns infinity everywhere",
    "returns 64 axes",
    "is a generator",
    "returns a function",
    "returns a class",
    "returns bytes",
    "returns a set",
    "returns an exact fraction",
    "returns a wide nest of lists",
    "returns a number too long to print",
    "returns keys that are tuples",
    "returns an exception",
    "raises what prints no text",
    "raises what prints without end",
    "raises without a traceback",
    "raises the end of a generator",
    "patches numpy.testing",
    "imports pytest and ends its run",
    "imports minigrad",
    "is a sum of a million numbers",
}
