"""The language of kernels: what a learner's kernel may be made of, checked before it runs.

A kernel that holds nothing else can be run by a process that must not be tampered with: it has no
way to reach the simulator that watches it, or anything beside its arguments. `kernel_code` takes a
kernel out of a file by its text, with the numbers and device functions that it needs; nothing else
of the file ever runs. This file needs nothing but the standard library.
"""

import ast
import difflib

#: words of each module that a kernel may use
WORDS = {
    "cuda": {
        *("grid", "gridsize", "laneid", "warpsize", "unroll"),
        *(
            f"{where}.{axis}"
            for where in ("threadIdx", "blockIdx", "blockDim", "gridDim")
            for axis in "xyz"
        ),
        *("syncthreads", "syncthreads_count", "syncthreads_and", "syncthreads_or", "syncwarp"),
        *("shfl_sync", "shfl_up_sync", "shfl_down_sync", "shfl_xor_sync"),
        *("all_sync", "any_sync", "ballot_sync", "shared.array", "local.array"),
        *(f"atomic.{name}" for name in ("add", "sub", "max", "min", "exch", "cas")),
    },
    "math": {
        *(
            "exp",
            "exp2",
            "log",
            "log2",
            "sqrt",
            "fabs",
            "floor",
            "ceil",
            "sin",
            "cos",
            "tanh",
            "pow",
        ),
        *("inf", "pi", "e", "nan", "isinf", "isnan"),
    },
    "np": {
        *("float16", "float32", "float64", "int32", "int64", "uint32", "uint64", "bool_"),
        *("inf", "pi", "nan"),
    },
}
BUILTINS = {"range", "min", "max", "abs", "int", "float", "bool", "len", "print"}
OF_ARRAYS = {"shape", "size", "ndim"}
#: what stands where there is no word for it
NAMES = {
    "Import": "an import", "ImportFrom": "an import", "Try": "try", "With": "with",
    "ClassDef": "a class",
    "FunctionDef": "a function inside of it", "Lambda": "a lambda", "ListComp": "a comprehension",
    "GeneratorExp": "a comprehension", "SetComp": "a comprehension", "DictComp": "a comprehension",
    "List": "a list", "Dict": "a dict", "Set": "a set", "JoinedStr": "a string", "Global": "global",
    "Nonlocal": "nonlocal", "Delete": "del", "Raise": "raise", "Assert": "assert", "Yield": "yield",
    "Await": "await", "NamedExpr": ":=", "Starred": "a star", "Slice": "a slice", "Match": "match",
    "AnnAssign": "an annotation", "Attribute": "an assignment to an attribute",
}  # fmt: skip
OPERATORS = (ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context)
STRANGE_OPERATORS = {
    ast.MatMult: "@", ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip


#: what to write in place of a word that kernels do not have
INSTEAD = {
    **dict.fromkeys(("np.zeros", "np.empty", "np.ones", "np.full", "np.array"),
                    "cuda.shared.array or cuda.local.array"),
    "np.maximum": "max", "np.minimum": "min", "np.abs": "abs", "np.sum": "a loop that adds up",
    "np.dot": "a loop that adds up", "np.newaxis": "an index for each axis",
}  # fmt: skip
ARRAYS = ("cuda.shared.array", "cuda.local.array")
INFINITIES = {"inf": "math.inf", "-inf": "-math.inf", "nan": "math.nan"}


class LanguageError(Exception):
    """A kernel holds what kernels may not; ``line`` is where."""

    def __init__(self, line, message):
        super().__init__(message)
        self.line = line


class UnwrittenError(Exception):
    """A kernel is still a stub; the message is that of its NotImplementedError."""


class MissingError(Exception):
    """There is no such kernel; the message says what there is."""


def kernel_code(source, name, path):
    """(code, parameters): what defines a kernel and all it needs, and the names it is called with.

    The code expects ``cuda``, ``math`` and ``np`` among its globals; lines are those of the file.

    Args:
        source: the text of a file.
        name: of a kernel in it.
        path: of the file, for messages.

    Raises SyntaxError, MissingError, UnwrittenError or LanguageError.
    """
    try:
        tree = ast.parse(source, path)
    except ValueError as error:  # null bytes, before Python 3.11.4
        raise SyntaxError(str(error)) from None
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name not in functions:
        raise MissingError(f"there is no kernel {name}")
    if kind(functions[name]) != "kernel":
        raise MissingError(f"{name} is no kernel: @cuda.jit belongs above it")
    constants, wanted, numbers = _constants(tree), [name], {}
    for each in wanted:  # grows while it is gone through
        checker = _Checker(functions[each], functions, constants)
        checker.check()
        numbers |= {number: constants[number] for number in checker.constants}
        wanted += [called for called in checker.called if called not in wanted]
    parameters = [each.arg for each in functions[name].args.args]
    numbers = sorted(numbers.values(), key=lambda node: node.lineno)
    bare = [_bare(functions[each]) for each in reversed(wanted)]
    module = ast.Module([*numbers, *bare], [])
    return compile(ast.fix_missing_locations(module), path, "exec", dont_inherit=True), parameters


def kind(function):
    """What a function's syntax tree is: "kernel" or "device", by its decorator, or None."""
    for node in function.decorator_list:
        called = node.func if isinstance(node, ast.Call) else node
        if _dotted(called) == "cuda.jit":
            options = node.keywords if isinstance(node, ast.Call) else []
            device = [each.value for each in options if each.arg == "device"]
            return "device" if device and getattr(device[0], "value", False) is True else "kernel"
    return None


def _bare(function):
    """A function without annotations, and with the one decorator that says what it is."""
    for argument in function.args.args:
        argument.annotation = None
    function.returns = None
    device = kind(function) == "device"
    words = "cuda.jit(device=True)" if device else "cuda.jit"
    decorator = ast.parse(words, mode="eval").body
    for node in ast.walk(decorator):
        if hasattr(node, "lineno"):
            node.lineno = node.end_lineno = function.decorator_list[0].lineno
    function.decorator_list = [decorator]
    return function


def _constants(tree):
    """{name: the assignment} of the file's own numbers, the last of each name."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name) and _is_number(node.value, found):
                found[target.id] = node
    return found


def _is_number(node, known):
    match node:
        case ast.Constant():
            return type(node.value) in (int, float, bool)
        case ast.Name():
            return node.id in known
        case ast.Attribute():
            module, _, word = (_dotted(node) or "").partition(".")
            return word in WORDS.get(module, ()) and module in ("math", "np")
        case ast.UnaryOp():
            return _is_number(node.operand, known)
        case ast.BinOp():
            return _is_number(node.left, known) and _is_number(node.right, known)
        case ast.Tuple():
            return all(_is_number(each, known) for each in node.elts)
        case ast.Call(func=ast.Attribute(), args=[argument], keywords=[]):
            return _is_number(node.func, known) and _is_number(argument, known)
    return False


def _dotted(node):
    """ "cuda.threadIdx.x" of such an expression, None of another."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


class _Checker:
    """Checks one function; ``called`` and ``constants`` are what it uses of the file's."""

    def __init__(self, function, functions, constants):
        self.function, self.functions, self.known = function, functions, constants
        self.devices = {key for key, node in functions.items() if kind(node) == "device"}
        self.called, self.constants = [], []
        names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
        self.own = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        self.own |= {each.arg for each in function.args.args}

    def refuse(self, node, what):
        raise LanguageError(node.lineno, what)

    def check(self):
        args = self.function.args
        if args.vararg or args.kwarg or args.kwonlyargs or args.defaults or args.posonlyargs:
            self.refuse(self.function, "a kernel's parameters are plain names")
        for name in sorted(self.own):
            if name in WORDS or name in BUILTINS or name.startswith("__"):
                self.refuse(self.function, f"{name} is a word of the language; take another name")
        body = self.function.body
        if isinstance(body[0], ast.Expr) and isinstance(getattr(body[0].value, "value", None), str):
            body = body[1:]
        for node in body:
            self.unwritten(node)
        for node in body:
            self.statement(node)

    def unwritten(self, node):
        """Raise UnwrittenError for the line that a stub has in place of a body."""
        for each in ast.walk(node):
            raised = each.exc if isinstance(each, ast.Raise) else None
            if isinstance(raised, ast.Call) and _dotted(raised.func) == "NotImplementedError":
                words = getattr(raised.args[0], "value", "") if raised.args else ""
                raise UnwrittenError(str(words))

    def statement(self, node):
        match node:
            case ast.Assign():
                for target in node.targets:
                    self.target(target)
                self.expression(node.value)
            case ast.AugAssign():
                self.target(node.target)
                self.operator(node, node.op)
                self.expression(node.value)
            case ast.For(orelse=[]):
                called = isinstance(node.iter, ast.Call) and _dotted(node.iter.func)
                if called not in ("range", "cuda.unroll") or not isinstance(node.target, ast.Name):
                    self.refuse(node, "a loop in a kernel is for i in range(…), or a while")
                self.expression(node.iter)
                self.block(node.body)
            case ast.While(orelse=[]) | ast.If():
                self.expression(node.test)
                self.block(node.body)
                self.block(node.orelse)
            case ast.Return():
                if node.value is not None:
                    if kind(self.function) == "kernel":
                        self.refuse(node, "a kernel returns nothing: it writes into its arrays")
                    self.expression(node.value)
            case ast.Expr():
                self.expression(node.value)
            case ast.Pass() | ast.Break() | ast.Continue():
                pass
            case _:
                self.strange(node)

    def block(self, statements):
        for node in statements:
            self.statement(node)

    def target(self, node):
        match node:
            case ast.Name():
                pass
            case ast.Subscript():
                self.expression(node)
            case ast.Tuple():
                for each in node.elts:
                    self.target(each)
            case _:
                self.strange(node)

    def operator(self, node, operator):
        if isinstance(operator, tuple(STRANGE_OPERATORS)):
            self.refuse(node, f"a kernel has no operator {STRANGE_OPERATORS[type(operator)]}")

    def expression(self, node):
        match node:
            case ast.Constant():
                if type(node.value) not in (int, float, bool):
                    self.refuse(node, self.no_number(node.value))
            case ast.Name():
                self.name(node)
            case ast.Attribute():
                self.attribute(node)
            case ast.Call():
                self.call(node)
            case (
                ast.Compare()
                | ast.BinOp()
                | ast.UnaryOp()
                | ast.BoolOp()
                | ast.IfExp()
                | ast.Tuple()
                | ast.Subscript()
            ):
                for each in ast.iter_child_nodes(node):
                    if isinstance(each, OPERATORS):
                        self.operator(node, each)
                    else:
                        self.expression(each)
            case _:
                self.strange(node)

    def no_number(self, value):
        """Why a constant is refused, and what may be meant."""
        more = ""
        if value in WORDS["np"]:
            more = f": write np.{value}, without quotes"
        elif type(value) is str and value.strip().lower() in INFINITIES:
            more = f": write {INFINITIES[value.strip().lower()]}"
        return f"a kernel has numbers only, not {value!r}{more}"

    def name(self, node):
        name = node.id
        if name in self.own:
            return
        if name in self.known:
            self.constants += [name, *self.needed(name)]
        elif name in WORDS:
            self.refuse(
                node,
                f"{name} stands alone; a kernel uses its words, such as {name}.{min(WORDS[name])}",
            )
        elif name in self.devices or name in BUILTINS:
            self.refuse(node, f"{name} is a function, and is not called here")
        else:
            self.refuse(node, f"{name} is nothing that a kernel knows")

    def needed(self, name):
        """Constants that a constant is made of."""
        value = self.known[name].value
        inner = [
            each.id
            for each in ast.walk(value)
            if isinstance(each, ast.Name) and each.id in self.known
        ]
        return [more for each in inner if each != name for more in (each, *self.needed(each))]

    def attribute(self, node):
        dotted = _dotted(node)
        module, _, word = (dotted or "").partition(".")
        if module in WORDS and module not in self.own:
            if word not in WORDS[module]:
                meant = _meant(module, word)
                more = f": write {meant}" if meant else ""
                self.refuse(node, f"{dotted} is nothing that a kernel may use here{more}")
        elif not (node.attr in OF_ARRAYS and isinstance(node.value, ast.Name)):
            self.refuse(
                node, f".{node.attr}: of an array a kernel may ask .shape, .size and .ndim only"
            )
        else:
            self.expression(node.value)

    def call(self, node):
        match node.func:
            case ast.Attribute():
                module = (_dotted(node.func) or "").partition(".")[0]
                if module not in WORDS or module in self.own:
                    self.refuse(node, f"a kernel cannot call .{node.func.attr}")
                self.attribute(node.func)
            case ast.Name(id=name) if name == self.function.name:
                self.refuse(node, f"{name} calls itself, which a kernel cannot")
            case ast.Name(id=name) if name in self.devices and name not in self.own:
                if name not in self.called:
                    self.called.append(name)
            case ast.Name(id=name) if name in BUILTINS and name not in self.own:
                pass
            case ast.Name(id=name):
                more = ": @cuda.jit(device=True) belongs above it" if name in self.functions else ""
                self.refuse(node, f"a kernel cannot call {name}{more}")
            case _:
                self.refuse(node, "a kernel cannot call this")
        if _dotted(node.func) in ARRAYS:
            self.shape(node)
        for each in (*node.args, *(keyword.value for keyword in node.keywords)):
            text = isinstance(each, ast.Constant) and type(each.value) is str
            if not (text and _dotted(node.func) == "print"):
                self.expression(each)
        if any(keyword.arg is None for keyword in node.keywords):
            self.refuse(node, "a kernel has no **")

    def shape(self, node):
        """Refuse a shared or local array whose shape the compiler could not know."""
        shapes = [*node.args[:1], *(each.value for each in node.keywords if each.arg == "shape")]
        known = [name for name in self.known if name not in self.own]
        if not all(_is_number(shape, known) for shape in shapes):
            example = f", such as {known[0]}" if known else ""
            self.refuse(
                node,
                "the shape of a shared or local array has to be known when the kernel is compiled: "
                f"a number, or a constant of the file{example}",
            )

    def strange(self, node):
        name = type(node).__name__
        more = ": cuda.local.array(n, np.float32) is an array of a thread's own"
        more = more if name in ("List", "ListComp") else ""
        self.refuse(node, f"a kernel cannot hold {NAMES.get(name, f'this ({name})')}{more}")


def _meant(module, word):
    """The word of the language that is most likely meant; None if there is no such word."""
    if f"{module}.{word}" in INSTEAD:
        return INSTEAD[f"{module}.{word}"]
    if word in WORDS["math"]:
        return f"math.{word}"
    if word in BUILTINS:
        return word
    longer = sorted(each for each in WORDS[module] if each.startswith(f"{word}."))
    plain = {each.lower(): each for each in sorted(WORDS[module], reverse=True)}
    near = difflib.get_close_matches(word.replace("_", "").lower(), plain, 1, 0.75)
    whole = longer or [plain[each] for each in near]
    return f"{module}.{whole[0]}" if whole else None
