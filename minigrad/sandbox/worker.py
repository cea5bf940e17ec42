"""The other side of the wall: loads a file and calls its functions with plain values.

`Student` does it, in this process or in one of its own. Run as a script this file is that
process: a first line of JSON on the standard input says what to load and behind which walls
(`jail`); then requests come in and replies go out as frames, a length and a plain value each. What
the code prints goes to the standard error output. The file needs nothing but NumPy beside it.
"""

import builtins
import contextlib
import functools
import importlib.util
import inspect
import json
import linecache
import os
import struct
import sys
import types
import warnings

if __package__:
    from minigrad.sandbox import language, launching, plain, ranks

#: files beside this one that it needs
OWN = ("plain", "language", "launching", "ranks")
MAX_TEXT = 2000
MAX_FRAMES = 12
MAX_SOURCE = 1 << 20


class NotAllowedError(BaseException):
    """What is asked for was called or imported; no `except Exception` hides it."""


class Student:
    """One file of code, loaded once, whose functions are called by name.

    Args:
        folder: where the file is; helper files beside it can be imported.
        name: the file's name without ``.py``.
        given: path of a file whose functions build what a `plain.Given` names; None for none.
        may_import: top-level modules allowed beside the standard library.
        may_not_call: dotted names, such as ``"numpy.einsum"``, that raise when called.
        given_source: the content of ``given``, where this process may not read it; else None.
        device: where kernels run beside the simulator, "cpu" for nowhere else.
    """

    def __init__(
        self,
        folder,
        name,
        given=None,
        may_import=("numpy",),
        may_not_call=(),
        given_source=None,
        device="cpu",
    ):
        self.folder, self.name = os.path.realpath(folder), name
        self.given = _module("_given", given, given_source or _source(given)) if given else None
        self.given_file = given and os.fspath(given)
        self.may_import = {*may_import, *sys.stdlib_module_names}
        self.may_not_call = may_not_call
        self.module = None
        self.used, self.device = [], device
        self.modules = []  # of ranks: each has its own

    def load(self):
        """Run the file; ``("value", None, [])`` or a reply that says why it cannot be run."""
        path = os.path.join(self.folder, f"{self.name}.py")
        try:
            source = _source(path)
        except OSError as error:
            return "unreadable", f"{self.name}.py cannot be read: {error.strerror}"
        if len(source) > MAX_SOURCE:
            return "unreadable", f"{self.name}.py has more than {MAX_SOURCE:,} bytes"
        reply = self._guarded(self._run, path, source)
        if reply[0] != "value":
            # Half a module, or one that caught the refusal, is not to be called later.
            self.module = None
        return reply

    def call(self, function, arguments, keywords):
        """Call a function of the file with plain arguments; the reply is plain too."""
        if self.module is None and (reply := self.load())[0] != "value":
            return reply
        chosen = vars(self.module).get(function)
        if not callable(chosen):
            return "missing", f"{self.name}.py has no function {function}"
        return self._guarded(self._call, chosen, arguments, keywords)

    def launch(self, kernel, grid, block, arguments):
        """Launch a kernel of the file; the reply's value is that of `launching.run`.

        The file is not run: the kernel is taken from its text, if it is written in nothing but the
        language of kernels.
        """
        path = os.path.join(self.folder, f"{self.name}.py")
        try:
            source = _source(path).decode("utf-8")
        except OSError as error:
            return "unreadable", f"{self.name}.py cannot be read: {error.strerror}"
        except UnicodeDecodeError:
            return "unreadable", f"{self.name}.py is not text in UTF-8"
        return self._guarded(self._launch, source, path, kernel, grid, block, arguments)

    def on_ranks(self, function, arguments, keywords, of_rank, settings):
        """Call a function of the file on simulated ranks, each with a communicator before the
        arguments; the reply's value is (results, what `ranks.run` found).

        Each rank has the file run for itself, as processes of their own would.

        Args:
            function: its name.
            arguments, keywords: plain, the same for all ranks.
            of_rank: for each rank {index or name: argument of its own}.
            settings: as for `ranks.run`.
        """
        self.modules = [] if self.module is None else self.modules
        if self.module is None and (reply := self.load())[0] != "value":
            return reply
        if not callable(vars(self.module).get(function)):
            return "missing", f"{self.name}.py has no function {function}"
        request = function, arguments, keywords, of_rank, settings
        return self._guarded(self._on_ranks, *request)

    def _on_ranks(self, function, arguments, keywords, of_rank, settings):
        path = os.path.join(self.folder, f"{self.name}.py")
        while len(self.modules) < len(of_rank):
            self.modules.append(_module(self.name, path, _source(path)))
        works = []
        for module, own in zip(self.modules, of_rank):
            values = [own.get(i, value) for i, value in enumerate(arguments)]
            named = {name: own.get(name, value) for name, value in keywords.items()}
            call = functools.partial(self._call_with, vars(module)[function], values, named)
            works.append(call)
        try:
            replies, seen = ranks.run(works, settings, lambda what: self._refuse(what, None))
        except Exception as error:
            refused = self.given and type(error) is vars(self.given).get("Refused")
            if refused or isinstance(error, NotImplementedError):
                raise
            raise ranks.failure(error, path) from None
        for rank, reply in enumerate(replies):
            if reply[0] != "value":
                return reply[0], f"{reply[1]} (rank {rank} returned it)"
        changed = next((reply[2] for reply in replies if reply[2]), [])
        return "value", ([result for _, result, _ in replies], seen), changed

    def _call_with(self, function, arguments, keywords, comm):
        return self._call(functools.partial(function, comm), arguments, keywords)

    def _launch(self, source, path, kernel, grid, block, arguments):
        try:
            loaded = launching.kernel_of(source, kernel, path)
        except SyntaxError as error:
            return self._not_python(error)
        except language.UnwrittenError as error:
            return "raised", "NotImplementedError", str(error), []
        except language.MissingError as error:
            return "missing", f"{self.name}.py: {error}"
        except language.LanguageError as error:
            return "no kernel language", _cut(f"{self.name}.py, line {error.line}: {error}")
        if (taken := len(loaded.parameters)) != len(arguments):
            return "missing", f"{kernel} takes {taken} arguments, and should {len(arguments)}"
        linecache.checkcache(path)
        result = launching.run(loaded, grid, block, arguments, self.device)
        return "value", result, []

    def _not_python(self, error):
        text = (error.text or "").strip()
        place = f"line {error.lineno}" if error.lineno else "somewhere"
        shown = f"\n    {text}" if text else ""
        return "unreadable", _cut(f"{self.name}.py, {place}: {error.msg}{shown}")

    def _run(self, path, source):
        self.module = None
        try:
            self.module = _module(self.name, path, source)
        except SyntaxError as error:
            return self._not_python(error)
        return "value", None, []

    def _call(self, function, arguments, keywords):
        given = (*arguments, *keywords.values())
        before = [plain.encode(value) for value in given]
        build = lambda value: self._built(plain.decode(value, functions=True))
        values = [build(value) for value in before]
        positional, named = values[: len(arguments)], values[len(arguments) :]
        result = function(*positional, **dict(zip(keywords, named)))
        try:
            result = plain.decode(plain.encode(result))
        except plain.NotPlainError as error:
            return "not plain", _cut(str(error))
        names = [*_parameter_names(function, len(arguments)), *keywords]
        # A function's bytes cannot be compared.
        compared = [not _has_function(value) for value in given]
        return "value", result, _changed(names, before, values, compared)

    def _built(self, value):
        """A plain value with each Given in it replaced by what the given file makes of it."""
        if type(value) is plain.Given:
            return getattr(self.given, value.name)(*value.arguments)
        if type(value) in (list, tuple):
            return type(value)(map(self._built, value))
        if type(value) is dict:
            return {key: self._built(item) for key, item in value.items()}
        return value

    def _guarded(self, action, *arguments):
        """The reply of an action, whatever it raises, while forbidden names are out of reach."""
        self.used.clear()
        try:
            with self._guard():
                reply = action(*arguments)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and __package__:
                raise
            reply = self._raised(error)
        # Whoever catches the error has called it all the same.
        return ("not allowed", self.used[0]) if self.used else reply

    def _raised(self, error):
        try:
            message = _cut(str(error))
        except BaseException:
            message = "(an exception that cannot be printed)"
        # A given function that is used in a wrong way says so itself.
        if self.given and type(error) is vars(self.given).get("Refused"):
            return "refused", message
        if isinstance(error, (launching.KernelFailure, ranks.RanksFailure)):
            error = error.error
        trace, frames = error.__traceback__, []
        # Where threads of a kernel wait for ever is in no traceback.
        places = [(site.code, site.line) for site in getattr(error, "sites", ())]
        while trace is not None:
            places.append((trace.tb_frame.f_code, trace.tb_lineno))
            trace = trace.tb_next
        for code, line in places:
            if code.co_filename.startswith(self.folder) and code.co_filename != self.given_file:
                file = os.path.basename(code.co_filename)
                text = linecache.getline(code.co_filename, line).strip()
                frames.append((file, line, code.co_name, _cut(text)))
        return "raised", type(error).__name__, message, frames[-MAX_FRAMES:]

    @contextlib.contextmanager
    def _guard(self):
        """Put away what may not be called, and check what this folder's files import."""
        undone = []
        ordinary_import = builtins.__import__

        def checked_import(name, globals=None, locals=None, fromlist=(), level=0):
            file = (globals or {}).get("__file__") or ""
            if level == 0 and file.startswith(self.folder) and not self._may_import(name):
                self._refuse(f"imports {name}", file)
            return ordinary_import(name, globals, locals, fromlist, level)

        for dotted in self.may_not_call:
            place, _, attribute = dotted.rpartition(".")
            module = importlib.import_module(place)
            undone.append((module, attribute, getattr(module, attribute)))
            setattr(module, attribute, self._refuser(dotted))
        undone.append((builtins, "__import__", ordinary_import))
        builtins.__import__ = checked_import
        sys.path.append(self.folder)
        try:
            yield
        finally:
            for module, attribute, value in reversed(undone):
                setattr(module, attribute, value)
            with contextlib.suppress(ValueError):
                sys.path.remove(self.folder)

    def _may_import(self, name):
        top = name.partition(".")[0]
        if top in self.may_import:
            return True
        local = os.path.join(self.folder, top)
        return os.path.isfile(f"{local}.py") or os.path.isdir(local)

    def _refuser(self, dotted):
        refuse = lambda *_, **__: self._refuse(f"calls {dotted}", None)
        # Of a ufunc, ``np.logaddexp.reduce`` is a call as well.
        for method in ("reduce", "accumulate", "reduceat", "outer", "at"):
            setattr(refuse, method, refuse)
        return refuse

    def _refuse(self, what, file):
        frame = sys._getframe(1)
        while frame and not frame.f_code.co_filename.startswith(self.folder):
            frame = frame.f_back
        line = f", line {frame.f_lineno}" if frame else ""
        place = f"{self.name}.py{line}"
        self.used.append(f"{place} {what}: the exercise is to be solved without it")
        raise NotAllowedError(self.used[-1])


def _module(name, path, source):
    """The module that a source makes, in sys.modules while and after it runs."""
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except ValueError as error:  # null bytes, before Python 3.11.4
        raise SyntaxError(str(error)) from None
    module = types.ModuleType(name)
    module.__file__ = os.fspath(path)
    sys.modules[name] = module
    linecache.checkcache(path)
    exec(code, vars(module))
    return module


def _source(path):
    with open(path, "rb") as file:
        return file.read(MAX_SOURCE + 1)


def _changed(names, before, values, compared):
    """The names of the arguments, of those compared, whose bytes are no longer what they were."""
    changed = []
    for name, old, value, is_compared in zip(names, before, values, compared):
        with contextlib.suppress(plain.NotPlainError):
            if not is_compared or plain.encode(value) == old:
                continue
        changed.append(name)
    return changed


def _has_function(value):
    """Whether something to be built is in an argument."""
    if type(value) is dict:
        return any(map(_has_function, value.values()))
    if type(value) in (list, tuple):
        return any(map(_has_function, value))
    return type(value) is plain.Given


def _parameter_names(function, count):
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    return [*names, *(f"number {i + 1}" for i in range(len(names), count))][:count]


def _cut(text):
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} …"


def read_frame(file):
    """The bytes of one frame, None at the end of the stream; NotPlainError if it is too long."""
    header = _read(file, 4)
    if header is None:
        return None
    (size,) = struct.unpack("<I", header)
    if size > plain.MAX_BYTES:
        raise plain.NotPlainError(f"a frame of {size:,} bytes")
    return _read(file, size)


def _read(file, size):
    pieces = []
    while size:
        piece = file.read(min(size, 1 << 20))
        if not piece:
            return None
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def framed(data):
    """Some bytes as one frame."""
    return struct.pack("<I", len(data)) + data


def write_frame(file, data):
    """Write some bytes as one frame and send them off."""
    file.write(framed(data))
    file.flush()


def main():
    """Serve requests until the parent closes the channel."""
    requests, replies = _private_channel()
    settings = json.loads(requests.readline())
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.extend([settings["site"], here])
    jail = importlib.import_module("jail")
    for name in OWN:
        globals()[name] = importlib.import_module(name)
    launching.language = language
    sys.path.remove(here)
    if settings["kernels"]:
        # Behind the walls nobody could find them.
        launching.load_kernels(settings["kernels"])
    if settings["ranks"]:
        ranks.load(settings["ranks"])
    student = settings["student"]
    if settings["tier"] == "user" and student["given"]:
        # The new user may not be let into the instructor's folders.
        student["given_source"] = _source(student["given"])
    jail.enter(settings)
    # The student's own files may bear these names.
    for name in ("jail", "rules", *OWN):
        sys.modules.pop(name, None)
    _make_chance_repeatable()
    student = Student(**student)
    _warn_in_few_words(student.folder)
    write_frame(replies, plain.encode(None))
    while (frame := read_frame(requests)) is not None:
        request = plain.decode(frame, functions=True)
        if request is None:
            reply = student.load()
        else:
            serve = {3: student.call, 4: student.launch, 5: student.on_ranks}[len(request)]
            reply = serve(*request)
        with contextlib.suppress(Exception):  # whatever it is now
            sys.stdout.flush()
        write_frame(replies, plain.encode(reply))
    os._exit(0)


def _make_chance_repeatable():
    """Whoever draws without a seed draws the same in every run, so that verdicts are the same."""
    import random

    import numpy.random

    random.seed(0)
    numpy.random.seed(0)  # noqa: NPY002
    # Where generators without a seed take theirs from.
    numpy.random.bit_generator.randbits = random.Random(0).getrandbits


def _warn_in_few_words(folder):
    """Show a warning as ``file:line: message``, with the folder's own line, and each only once."""
    seen = set()

    def show(message, category, filename, lineno, file=None, line=None):
        frame = sys._getframe(1)
        while frame and not frame.f_code.co_filename.startswith(folder):
            frame = frame.f_back
        if frame:
            filename, lineno = frame.f_code.co_filename, frame.f_lineno
        text = _cut(f"{os.path.basename(filename)}:{lineno}: {message}")
        if text not in seen:
            seen.add(text)
            print(text, file=sys.stderr)

    warnings.showwarning = show


def _private_channel():
    """The standard input and output moved away; print goes to the standard error output."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    # Line by line, so that a crash does not swallow what was printed before it.
    sys.stdout.reconfigure(line_buffering=True)
    return requests, replies


if __name__ == "__main__":
    main()
