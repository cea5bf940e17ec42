"""From a kernel as it is written to the function that the compiler gets.

The simulator runs a kernel as it stands. For the GPU its syntax tree is rewritten first, by rules
that hold for every kernel and make the short way to write it also the fast one:

- a float literal, or a Python float that a name or a module's attribute stands for, is a float32
  (Python's would draw everything into float64);
- an index is never negative, so the compiler need not ask whether to count from the end;
- ``for i in cuda.unroll(4)`` is written out four times, i being 0, 1, 2, 3 in the text: an index
  of a local array is then a constant, and the array can live in registers;
- an ``if`` whose test is known now (names of numbers, strings or None outside the function) is
  replaced by the branch it takes.
"""

import ast
import inspect
import operator
import textwrap
import types

import numpy as np

UNROLL = "unroll"
MOST_UNROLLED = 1024
FLOAT, INDEX = "float32_", "index_"  # names that the rewritten text uses

_UNKNOWN = object()
_BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_COMPARE = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda x, y: x in y,
    ast.NotIn: lambda x, y: x not in y,
}


class KernelError(TypeError):
    """A kernel says what kernels cannot; the message has its file and line."""


def scope_of(function):
    """What the names in a function mean: its globals, and over them what it closes over."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or ())
    return function.__globals__ | {name: cell.cell_contents for name, cell in cells}


def lowered(function, counterpart, index):
    """A copy of a function for the compiler. ``counterpart(value)`` gives what a name's value is
    over there, and ``index`` is the function that marks an index as not negative."""
    scope = scope_of(function)
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except OSError as error:
        raise KernelError(f"{function.__name__}: its source cannot be read") from error
    tree = ast.parse(source)
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):
        raise KernelError(f"{function.__name__}: a kernel is a plain function with a def")
    definition.decorator_list = []
    file = function.__code__.co_filename
    definition.body = _Rewriter(scope, _assigned(definition), file).block(definition.body)
    used = {node.id for node in ast.walk(definition) if isinstance(node, ast.Name)}
    space = {name: counterpart(_narrow(scope[name])) for name in used if name in scope}
    space |= {FLOAT: np.float32, INDEX: index, "__name__": function.__module__}
    floats = sorted(
        {
            node.value
            for node in ast.walk(definition)
            if isinstance(node, ast.Constant) and type(node.value) is float
        }
    )
    space |= {f"{FLOAT}{i}": np.float32(value) for i, value in enumerate(floats)}
    definition = _Floats(floats).visit(definition)
    ast.fix_missing_locations(tree)
    exec(compile(tree, file, "exec"), space)
    copy = space[function.__name__]
    copy.__module__ = function.__module__
    copy.__defaults__ = function.__defaults__
    return copy


def _narrow(value):
    """Python floats as float32, also inside of tuples."""
    if isinstance(value, tuple):
        return tuple(_narrow(each) for each in value) if _is_plain(value) else value
    return np.float32(value) if type(value) is float else value


def _assigned(definition):
    """Names that the function itself gives a value to."""
    args = definition.args
    names = {arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)}
    return names | {
        node.id
        for node in ast.walk(definition)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


class _Floats(ast.NodeTransformer):
    """Float literals become names of float32 numbers."""

    def __init__(self, floats):
        self.floats = floats

    def visit_Constant(self, node):
        if type(node.value) is not float:
            return node
        return ast.copy_location(
            ast.Name(f"{FLOAT}{self.floats.index(node.value)}", ast.Load()), node
        )


class _Rewriter(ast.NodeTransformer):
    """Everything else."""

    def __init__(self, scope, assigned, file):
        self.scope, self.assigned, self.file = scope, assigned, file
        self.known = {}  # variables of unrolled loops

    def error(self, node, message):
        return KernelError(f"{self.file}:{node.lineno}: {message}")

    def block(self, statements):
        """Statements, each of which may become none or several."""
        out = []
        for statement in statements:
            new = self.visit(statement)
            out += new if isinstance(new, list) else [new]
        return out or [ast.Pass()]

    def value(self, node):
        """What an expression is worth, if that is known before the kernel runs."""
        match node:
            case ast.Constant():
                return node.value
            case ast.Name() if node.id in self.known:
                return self.known[node.id]
            case ast.Name() if node.id in self.scope and node.id not in self.assigned:
                value = self.scope[node.id]
                return value if _is_plain(value) else _UNKNOWN
            case ast.Attribute(value=ast.Name(id=name)) if name not in self.assigned:
                module = self.scope.get(name)
                if not isinstance(module, types.ModuleType):
                    return _UNKNOWN
                value = vars(module).get(node.attr, _UNKNOWN)  # no lane has asked for cuda.laneid
                return value if _is_plain(value) else _UNKNOWN
            case (
                ast.Subscript()
                | ast.Tuple()
                | ast.BinOp()
                | ast.UnaryOp()
                | ast.Compare()
                | ast.BoolOp()
            ):
                return self._combined(node)
        return _UNKNOWN

    def _combined(self, node):
        if isinstance(node, ast.BoolOp):
            return self._bool(node)
        children = [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr)]
        values = [self.value(each) for each in children]
        if any(value is _UNKNOWN for value in values):
            return _UNKNOWN
        try:
            return self._result(node, values)
        except (ArithmeticError, IndexError, TypeError, ValueError):
            return _UNKNOWN  # in a branch that is never taken, or the compiler will say it

    def _result(self, node, values):
        match node:
            case ast.BinOp() if type(node.op) in _BINARY:
                return _BINARY[type(node.op)](*values)
            case ast.UnaryOp(op=ast.USub()):
                return -values[0]
            case ast.UnaryOp(op=ast.Not()):
                return not values[0]
            case ast.Compare(ops=[op]) if type(op) in _COMPARE:
                return _COMPARE[type(op)](*values)
            case ast.Subscript() if isinstance(values[0], tuple):
                return values[0][values[1]]
            case ast.Tuple():
                return tuple(values)
        return _UNKNOWN

    def _bool(self, node):
        """And and or, which one known part can decide."""
        decides = isinstance(node.op, ast.Or)
        values = [self.value(each) for each in node.values]
        if any(value is not _UNKNOWN and bool(value) is decides for value in values):
            return decides
        return _UNKNOWN if any(value is _UNKNOWN for value in values) else not decides

    def visit_Name(self, node):
        if node.id in self.known:
            if not isinstance(node.ctx, ast.Load):
                raise self.error(
                    node, f"{node.id} belongs to an unrolled loop and cannot be assigned"
                )
            return ast.copy_location(ast.Constant(self.known[node.id]), node)
        return node

    def visit_Attribute(self, node):
        value = self.value(node)
        if type(value) in (int, float):
            return ast.copy_location(ast.Constant(value), node)
        return self.generic_visit(node)

    def visit_BinOp(self, node):
        value = self.value(node)
        if type(value) in (int, float):
            return ast.copy_location(ast.Constant(value), node)
        return self.generic_visit(node)

    def visit_If(self, node):
        test = self.value(node.test)
        if test is _UNKNOWN:
            node.test = self.visit(node.test)
            node.body = self.block(node.body)
            node.orelse = self.block(node.orelse) if node.orelse else []
            return node
        return self.block(node.body) if test else self.block(node.orelse) if node.orelse else []

    def visit_IfExp(self, node):
        test = self.value(node.test)
        return (
            self.generic_visit(node)
            if test is _UNKNOWN
            else self.visit(node.body if test else node.orelse)
        )

    def visit_While(self, node):
        node.test, node.body = self.visit(node.test), self.block(node.body)
        return node

    def visit_For(self, node):
        call = node.iter
        named = isinstance(call, ast.Call) and (
            call.func.attr
            if isinstance(call.func, ast.Attribute)
            else getattr(call.func, "id", None)
        )
        if named != UNROLL:
            node.target, node.iter = self.visit(node.target), self.visit(node.iter)
            node.body = self.block(node.body)
            node.orelse = self.block(node.orelse) if node.orelse else []
            return node
        bounds = [self.value(each) for each in call.args]
        if not all(type(bound) is int for bound in bounds) or not isinstance(node.target, ast.Name):
            raise self.error(node, "unroll takes integers that are known before the kernel runs")
        name, counts = node.target.id, range(*bounds)
        if len(counts) > MOST_UNROLLED:
            raise self.error(node, f"unroll of {len(counts)}; at most {MOST_UNROLLED}")
        if any(
            isinstance(each, ast.Break | ast.Continue) for part in node.body for each in _own(part)
        ):
            raise self.error(node, "an unrolled loop cannot break or continue")
        if node.orelse or name in self.known:
            raise self.error(node, f"the unrolled loop over {name} needs a variable of its own")
        out = []
        for i in counts:
            self.known[name] = i
            out += self.block([_copy(part) for part in node.body])
        self.known.pop(name, None)
        return out

    def visit_Subscript(self, node):
        value = self.value(node)
        if type(value) in (int, float) and isinstance(node.ctx, ast.Load):
            return ast.copy_location(ast.Constant(value), node)
        node = self.generic_visit(node)
        if isinstance(node.slice, ast.Tuple):
            node.slice.elts = [self._index(each) for each in node.slice.elts]
        else:
            node.slice = self._index(node.slice)
        return node

    def _index(self, node):
        if isinstance(node, ast.Slice | ast.Constant):
            return node
        value = self.value(node)
        if type(value) is int:
            return ast.copy_location(ast.Constant(value), node)
        return ast.copy_location(ast.Call(ast.Name(INDEX, ast.Load()), [node], []), node)


def _is_plain(value):
    if isinstance(value, tuple):
        return all(_is_plain(each) for each in value)
    return value is None or isinstance(value, bool | int | float | str)


def _own(node):
    """A statement's nodes, but not those inside loops of its own."""
    yield node
    if not isinstance(node, ast.For | ast.While):
        for child in ast.iter_child_nodes(node):
            yield from _own(child)


def _copy(node):
    """A deep copy of a syntax tree."""
    if isinstance(node, list):
        return [_copy(each) for each in node]
    if not isinstance(node, ast.AST):
        return node
    new = type(node)(**{field: _copy(value) for field, value in ast.iter_fields(node)})
    return ast.copy_location(new, node)
