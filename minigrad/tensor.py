"""Tensor: an array that remembers where it came from. Its operators and methods are the ops."""

import operator

import numpy as np

from minigrad import backend, engine, ops
from minigrad.engine import AMBIENT, CONSTANT, Leaf, Traced, box, plain, traced_class


@traced_class
class Tensor(Traced):
    """A NumPy or CuPy array with derivatives.

    ``Tensor(data, dtype=None, device=None, requires_grad=False)`` copies its data: Python numbers
    and lists become float32, int64 or bool, arrays keep their dtype. With ``requires_grad`` it is a
    leaf: after ``loss.backward()`` its ``grad`` holds the derivative of ``loss``, a Tensor of the
    same shape. Raises TypeError for data that is no numeric array, and for gradients of integers.
    """

    __slots__ = ("grad",)
    __array_ufunc__ = None  # so that `array * tensor` comes here instead of looping over elements

    def __init__(self, data, dtype=None, device=None, requires_grad=False):
        self.data = backend.array(plain(data), dtype, device)
        self.level, self.node, self.tangent = CONSTANT, None, None
        if requires_grad:
            self.requires_grad_()

    def __getattr__(self, name):
        if name == "grad":  # the slot is empty until backward fills it
            return None
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @staticmethod
    def constant(array):
        """A Tensor around an array as it is, not copied."""
        return box(array)

    shape = property(lambda self: self.data.shape, doc="The size of each axis.")
    ndim = property(lambda self: self.data.ndim, doc="The number of axes.")
    size = property(lambda self: self.data.size, doc="The number of elements.")
    dtype = property(lambda self: self.data.dtype, doc="The NumPy dtype.")
    T = property(lambda self: ops.transpose(self), doc="All axes reversed.")
    device = property(lambda self: backend.device_of(plain(self)), doc='"cpu", "cuda", "cuda:1".')

    @property
    def requires_grad(self):
        """Whether reverse mode follows this Tensor."""
        inner = self.data
        return self.node is not None or (isinstance(inner, Tensor) and inner.requires_grad)

    @property
    def is_leaf(self):
        """Whether no op made this Tensor."""
        return self.node is None or self.node.op is None

    def __reduce__(self):
        """How copy, deepcopy and pickle make a twin: a leaf is one too, with a grad of its own."""
        if self.level > AMBIENT or not self.is_leaf:
            raise TypeError(
                "only tensors that no op made can be copied or pickled whole; detach() this one, "
                "or clone() it to let gradients flow through the copy"
            )
        return _restored, (type(self), self.data, self.requires_grad, self.grad)

    def requires_grad_(self, requires_grad=True):
        """Make this Tensor a leaf whose gradient is kept (or a constant again); returns it."""
        if not self.is_leaf or self.level > AMBIENT:
            raise RuntimeError("requires_grad_: this tensor was made by an op; detach() it first")
        if requires_grad and not backend.is_floating(self.dtype):
            raise TypeError(
                f"requires_grad: a tensor of dtype {self.dtype} has no gradient; "
                "use a floating-point dtype, as in astype('float32')"
            )
        if requires_grad:
            self.level = AMBIENT
            self.node = Leaf(self.data, self)
        else:
            self.level, self.node = CONSTANT, None
        return self

    def numpy(self):
        """The values as a NumPy array: the tensor's own memory where it lies on the CPU.

        Writing into it is at the caller's own risk: a graph that saved it will not notice.
        """
        return np.asarray(backend.to_device(plain(self), "cpu"))

    def item(self):
        """The one element as a Python number. Raises ValueError unless there is exactly one."""
        if self.size != 1:
            raise ValueError(f"item: the tensor has shape {self.shape}; expected one element")
        return plain(self).item()

    def tolist(self):
        """Nested Python lists of the elements."""
        return self.numpy().tolist()

    def detach(self):
        """The same values as a constant, sharing memory."""
        return ops.stop_gradient(self)

    def clone(self):
        """A copy that gradients flow through."""
        return ops.astype(self, dtype=self.dtype)

    def astype(self, dtype):
        """The values as another dtype."""
        return ops.astype(self, dtype=dtype)

    def to(self, device):
        """The tensor on ``"cpu"``, ``"cuda"`` or ``"cuda:1"``; gradients travel back."""
        return ops.to_device(self, device)

    def backward(self, gradient=None, retain_graph=False, create_graph=False):
        """Add the derivative of this tensor to ``grad`` of every leaf that it came from.

        ``gradient`` (same shape) weighs the elements; it may be left out for one element alone.
        The values saved for the walk are freed unless ``retain_graph``; with ``create_graph``
        (which retains it too) the gradients are themselves part of a graph. Raises RuntimeError
        when there is nothing to differentiate, or the graph was freed or changed in place.
        """
        if self.level > AMBIENT:
            raise RuntimeError("backward: inside grad, vjp or jvp use what the transform returns")
        if self.node is None:
            raise RuntimeError("backward: this tensor came from no tensor with requires_grad")
        if gradient is None:
            if self.size != 1:
                raise RuntimeError(
                    f"backward: the tensor has shape {self.shape}; only a single number has a "
                    "gradient: reduce it with sum() or mean(), or pass gradient= of this shape"
                )
            gradient = backend.ones(self.shape, self.data)
        g = gradient if create_graph else plain(gradient)
        if np.shape(g) != self.shape:
            raise ValueError(
                f"backward: gradient has shape {np.shape(g)}; expected the tensor's {self.shape}"
            )
        if not isinstance(g, Traced):
            g = backend.array(g, self.dtype, self.device, copy=False)
        leaves = engine.walk([(self, g)], AMBIENT, create_graph, retain_graph or create_graph)
        gradients = engine.separate(leaves.values(), seeds=[g])
        for node, g in zip(leaves, gradients):
            if (tensor := node.tensor and node.tensor()) is None:
                continue
            g = g if isinstance(g, Traced) else box(g)
            tensor.grad = g if tensor.grad is None else tensor.grad + g

    def copy_(self, values):
        """Overwrite all values in place; ``__setitem__`` says when that may be."""
        self[...] = values
        return self

    def __setitem__(self, index, values):
        """Write in place. Tensors that a graph made are never written: use ``where`` or
        ``scatter_add``; leaves with requires_grad only under ``no_grad()``."""
        if self.level > AMBIENT or not self.is_leaf:
            raise RuntimeError(
                "in-place write: this tensor is part of a graph; use where() or scatter_add(), "
                "or write into detach().clone()"
            )
        if self.node is not None and engine.records(AMBIENT):
            raise RuntimeError("in-place write to a leaf that requires grad: use `with no_grad():`")
        if isinstance(values, Tensor) and values.requires_grad and engine.records(AMBIENT):
            raise RuntimeError(
                "in-place write: the values require grad and would lose it; detach()"
            )
        try:
            self.data[ops.plain_index(index)] = self._beside(values)
        except (ValueError, IndexError) as error:
            raise type(error)(f"in-place write to {engine.describe(self)}: {error}") from error
        engine.wrote(self.data)

    def _beside(self, values):
        values = plain(values)
        return backend.beside(values, self.data) if backend.is_array(values) else values

    def __repr__(self):
        body = np.array2string(self.numpy(), separator=", ", prefix="tensor(", precision=4)
        extras = "" if self.dtype in _plain_dtypes else f", dtype={self.dtype}"
        extras += "" if self.device == "cpu" else f", device={self.device!r}"
        extras += ", requires_grad=True" if self.requires_grad and self.is_leaf else ""
        extras += "" if self.is_leaf else f", made_by={self.node.op.name}"
        return f"tensor({body}{extras})"

    def __len__(self):
        if self.ndim == 0:
            raise TypeError("len() of a tensor without axes")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self):
        return bool(self._one("bool"))

    def __float__(self):
        return float(self._one("float"))

    def __int__(self):
        return int(self._one("int"))

    def __index__(self):
        return operator.index(self._one("index"))

    def _one(self, what):
        if self.size != 1:
            raise ValueError(
                f"{what}() of a tensor of shape {self.shape} is ambiguous; "
                "reduce it first, as in (x > 0).all()"
            )
        return plain(self).item()

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad or self.level > AMBIENT:
            raise TypeError(
                "a tensor that is being differentiated was turned into a NumPy array; use "
                "minigrad's ops on it, or detach() it if no derivative is wanted"
            )
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    __hash__ = object.__hash__

    __add__ = __radd__ = lambda self, other: ops.add(self, other)
    __mul__ = __rmul__ = lambda self, other: ops.multiply(self, other)
    __sub__ = lambda self, other: ops.subtract(self, other)
    __rsub__ = lambda self, other: ops.subtract(other, self)
    __truediv__ = lambda self, other: ops.divide(self, other)
    __rtruediv__ = lambda self, other: ops.divide(other, self)
    __floordiv__ = lambda self, other: ops.floor_divide(self, other)
    __rfloordiv__ = lambda self, other: ops.floor_divide(other, self)
    __mod__ = lambda self, other: ops.remainder(self, other)
    __rmod__ = lambda self, other: ops.remainder(other, self)
    __pow__ = lambda self, other: ops.power(self, other)
    __rpow__ = lambda self, other: ops.power(other, self)
    __matmul__ = lambda self, other: ops.matmul(self, other)
    __rmatmul__ = lambda self, other: ops.matmul(other, self)
    __neg__ = lambda self: ops.negative(self)
    __pos__ = lambda self: self
    __abs__ = lambda self: ops.abs(self)
    __eq__ = lambda self, other: ops.equal(self, other)
    __ne__ = lambda self, other: ops.not_equal(self, other)
    __lt__ = lambda self, other: ops.less(self, other)
    __le__ = lambda self, other: ops.less_equal(self, other)
    __gt__ = lambda self, other: ops.greater(self, other)
    __ge__ = lambda self, other: ops.greater_equal(self, other)
    __and__ = lambda self, other: ops.logical_and(self, other)
    __or__ = lambda self, other: ops.logical_or(self, other)
    __invert__ = lambda self: ops.logical_not(self)
    __getitem__ = lambda self, index: ops.getitem(self, index)

    def reshape(self, *shape):
        """The elements in a new shape: ``x.reshape(2, -1)`` or ``x.reshape((2, -1))``."""
        return ops.reshape(self, shape=shape[0] if _is_shape(shape) else shape)

    def transpose(self, *axes):
        """The axes in another order, reversed for none: ``x.transpose(0, 2, 1)``."""
        axes = axes[0] if _is_shape(axes) or axes == (None,) else axes
        return ops.transpose(self, axes=axes or None)


def _restored(cls, array, requires_grad, grad):
    """A leaf or constant of class ``cls`` around ``array``, as it was before copying."""
    twin = object.__new__(cls)
    twin.data, twin.level, twin.node, twin.tangent = array, CONSTANT, None, None
    if grad is not None:
        twin.grad = grad
    return twin.requires_grad_(requires_grad)


_plain_dtypes = {np.dtype(t) for t in ("float32", "int64", "bool")}


def _is_shape(arguments):
    return len(arguments) == 1 and isinstance(arguments[0], (tuple, list))


def _method(name):
    op = getattr(ops, name)

    def method(self, *args, **params):
        return op(self, *args, **params)

    method.__name__, method.__doc__ = name, op.__doc__
    return method


_methods = """
    abs all any argmax argmin argsort broadcast_to ceil clip cos cosh cross_entropy cumsum dot
    dropout erf exp expand_dims expm1 flip floor gelu inv isfinite isnan layer_norm log log1p
    log_softmax logsumexp matmul max maximum mean min minimum moveaxis norm outer pad power prod
    relu rint rms_norm roll scatter_add sigmoid sign silu sin sinh softmax softplus sort split
    sqrt square squeeze std sum swapaxes take take_along_axis tan tanh tile topk trace tril triu var
"""
for _name in _methods.split():
    setattr(Tensor, _name, _method(_name))


def tensor(data, *, dtype=None, device=None, requires_grad=False):
    """A Tensor holding a copy of ``data``: a number, nested lists, an array or a Tensor.

    Python floats become float32, ints int64, bools bool; arrays keep their dtype. ``device`` is
    "cpu", "cuda" or "cuda:1". Raises TypeError for data that is not numeric.
    """
    return Tensor(data, dtype, device, requires_grad)
