"""Where a template from a stranger's file is rendered: it can reach nothing, and it has a budget.

Jinja's immutable sandbox keeps a template from Python's internals and from changing its input. It
does not keep it from looping for hours, nor from asking for a terabyte with ``"a" * 10**12``. So
the filters, methods and functions here are those that chat templates use, and no more, and every
round of a loop, every call and every value that grows is paid for.
"""

import datetime
import functools
import json
import time
from contextvars import ContextVar

from jinja2 import nodes, pass_context, pass_eval_context
from jinja2.exceptions import SecurityError, TemplateError, TemplateRuntimeError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.filters import FILTERS, do_indent, do_join, do_replace
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

FILTER_NAMES = """
    abs capitalize count d default dictsort e escape first float int items last length list lower
    map max min reject rejectattr reverse safe select selectattr sort string title trim unique
    upper wordcount
"""
METHODS = """
    capitalize count endswith find get index isalnum isalpha isdecimal isdigit islower isnumeric
    isspace isupper items join keys lower lstrip partition removeprefix removesuffix replace rfind
    rindex rpartition rsplit rstrip split splitlines startswith strip title upper values
"""
WIDEST_INDENT = 16

_budget = ContextVar("budget")


class Budget:
    """What one rendering may spend: characters and steps together, and seconds."""

    def __init__(self, units, seconds):
        self.units, self.seconds, self.end = units, seconds, time.monotonic() + seconds

    def __enter__(self):
        self._token = _budget.set(self)

    def __exit__(self, *exception):
        _budget.reset(self._token)

    def spend(self, units):
        """Take some of the budget; TemplateRuntimeError when it is used up."""
        self.units -= units
        if self.units < 0:
            raise TemplateRuntimeError("it makes more text or steps than messages can ask for")
        if time.monotonic() > self.end:
            raise TemplateRuntimeError(f"it takes more than {self.seconds} seconds")


def spend(units):
    """Take a positive number of units from the budget of the rendering that runs."""
    _budget.get().spend(max(int(units), 1))


def paid(value):
    """A value, once all its characters and entries are paid for.

    An entry that stands in two places is paid for twice, as it would be written twice.
    """
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple)):
            waiting += item
        spend(size(item))
    return value


def size(value):
    """How large a value is by itself: its bits, characters or entries."""
    if isinstance(value, int):
        return 1 + value.bit_length()
    return 1 + len(value) if isinstance(value, (str, list, tuple, dict)) else 1


class Generation(Extension):
    """``{% generation %}`` marks the model's own words for training; here they are just text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Tolls(NodeTransformer):
    """Puts a toll at the head of every loop and macro, and has every built value paid for."""

    def visit_For(self, node):
        self.generic_visit(node)
        length = sum(len(text.data) for text in node.find_all(nodes.TemplateData))
        node.body.insert(0, nodes.ExprStmt(_filtered(nodes.Const(1 + length), "spend")))
        return node

    visit_Macro = visit_CallBlock = visit_For

    def visit_List(self, node):
        self.generic_visit(node)
        stored = getattr(node, "ctx", "load") != "load"
        return node if stored else _filtered(node, "paid")

    visit_Dict = visit_Tuple = visit_List

    def visit_Concat(self, node):
        self.generic_visit(node)
        node.nodes = [_filtered(part, "paid") for part in node.nodes]
        return node

    def visit_NSRef(self, node):
        if node.attr.startswith("_"):
            raise SecurityError(f"the name {node.attr!r} is not allowed")
        return node


def _filtered(node, name):
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class Environment(ImmutableSandboxedEnvironment):
    """Jinja as chat templates expect it, less what they do not use, and with a budget."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    methods = frozenset(METHODS.split())

    def __init__(self):
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[LoopControlExtension, Generation],
            optimized=False,  # nothing is computed while there is no budget yet
            finalize=pass_context(lambda context, value: paid(value)),
        )
        own = (join, replace, indent, tojson)
        self.filters = {name: _metered(FILTERS[name]) for name in FILTER_NAMES.split()}
        self.filters |= {function.__name__: _metered(function) for function in own}
        self.filters |= {"paid": paid, "spend": spend}
        self.globals = {f.__name__: f for f in (raise_exception, strftime_now, namespace)}
        self.globals |= {"range": safe_range, "dict": lambda *a, **k: dict(*a, **k)}

    def _parse(self, source, name, filename):
        return Tolls().visit(super()._parse(source, name, filename))

    def is_safe_attribute(self, obj, attr, value):
        if isinstance(obj, (str, list, tuple, dict)):
            return attr in self.methods
        known = isinstance(obj, (LoopContext, Namespace))
        return known and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value):
        return (
            None  # a format can ask for any number of spaces: it is a method like others, unknown
        )

    def call_binop(self, context, operator, left, right):
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise SecurityError(f"{type(left).__name__} {operator} is not allowed")
        if operator == "*":
            for value, times in ((left, right), (right, left)):
                if isinstance(times, int) and not isinstance(value, int):
                    spend(size(value) * times)
        return paid(super().call_binop(context, operator, left, right))

    def call(self, context, function, /, *args, **kwargs):
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(owner, str) and name == "join":
            args = [paid([str(item) for item in value]) for value in args]
            spend(sum(map(len, args)) * size(owner))
        elif isinstance(owner, str) and name == "replace":
            spend(_replaced_size(owner, *args))
        else:
            paid([*args, *kwargs.values()])
        return paid(super().call(context, function, *args, **kwargs))


def _metered(function):
    """A filter that pays for each call, and for the text or list that it makes."""

    @functools.wraps(function)
    def metered(*args, **kwargs):
        spend(1)
        result = function(*args, **kwargs)
        return paid(result) if isinstance(result, (str, list)) else result

    return metered


def _replaced_size(text, old, new, count=None):
    return len(text) + text.count(old) * len(new)


@pass_eval_context
def join(eval_context, value, d="", attribute=None):
    """Jinja's filter; the budget knows beforehand how much it makes."""
    items = paid(list(value))
    spend(len(items) * size(d))
    return do_join(eval_context, items, d, attribute)


@pass_eval_context
def replace(eval_context, s, old, new, count=None):
    """Jinja's filter; the budget knows beforehand how much it makes."""
    spend(_replaced_size(str(s), str(old), str(new)))
    return do_replace(eval_context, s, old, new, count)


def indent(s, width=4, first=False, blank=False):
    """Jinja's filter; the budget knows beforehand how much it makes."""
    spend(len(s) + (s.count("\n") + 1) * (width if isinstance(width, int) else len(width)))
    return do_indent(s, width, first, blank)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    """A value as JSON, as Hugging Face's filter writes it: nothing is escaped for HTML."""
    wide = [indent] if isinstance(indent, int) else [len(indent or "")]
    if max(wide + [len(mark) for mark in separators or ()]) > WIDEST_INDENT:
        raise SecurityError(f"tojson: indent and separators go up to {WIDEST_INDENT} characters")
    return json.dumps(
        paid(x),
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def raise_exception(message):
    """How a template refuses its messages."""
    raise TemplateError(str(message))


def strftime_now(format):
    """Today's date, which some templates tell the model."""
    return datetime.datetime.now().strftime(format)


def namespace(*args, **kwargs):
    """Jinja's namespace, less names that Python gives a meaning to."""
    names = dict(*args, **kwargs)
    for name in names:
        if str(name).startswith("_"):
            raise SecurityError(f"the name {name!r} is not allowed")
    return Namespace(names)
