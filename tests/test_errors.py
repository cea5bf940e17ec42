"""Bad input, as a table: each row a call, the exception it must raise, and what that must say.

A message names the op, the argument or its shape, and what would be right.
"""

import math
from importlib.util import find_spec

import numpy as np
import pytest

import minigrad as mg

X = np.array([[0.5, -1.5, 2.0], [3.0, 0.25, -0.75]])
VECTOR = np.array([0.5, 1.0, 2.0, 4.0])
IDS = np.array([[1, 2], [0, 3]])


def leaf(data=X):
    return mg.tensor(data, requires_grad=True)


def heads(*shapes):
    return [np.ones(shape) for shape in shapes]


def freed_twice():
    loss = mg.sum(mg.exp(leaf()))
    loss.backward()
    loss.backward()


def written_after_saved():
    x = leaf()
    loss = mg.sum(mg.sin(x))
    with mg.no_grad():
        x[0] = 1.0
    loss.backward()


def write_part_of_a_graph():
    y = leaf() * 2.0
    with mg.no_grad():
        y[0] = 1.0


def write_leaf():
    leaf()[0] = 1.0


def write_wrong_shape():
    x = mg.tensor(X)
    x[0] = np.ones(4)


def anomalous(call):
    def run():
        with np.errstate(all="ignore"), mg.detect_anomaly():
            call()

    return run


def backward_of(f, at):
    x = leaf(at)
    f(x).backward()


def returning(value):
    return lambda: mg.grad(lambda x: value)(X)


BAD = {
    # Shapes
    "add": (lambda: mg.add(X, VECTOR), ValueError, ["add", "(2, 3)", "(4,)"]),
    "plus": (lambda: mg.tensor(X) + VECTOR, ValueError, ["add", "(2, 3)", "(4,)"]),
    "divide": (lambda: leaf() / VECTOR, ValueError, ["divide", "(2, 3)", "(4,)"]),
    "power": (lambda: mg.power(X, VECTOR), ValueError, ["power", "(2, 3)", "(4,)"]),
    "maximum": (lambda: mg.maximum(X, VECTOR), ValueError, ["maximum", "(2, 3)", "(4,)"]),
    "less": (lambda: mg.less(X, VECTOR), ValueError, ["less", "(2, 3)", "(4,)"]),
    "where": (
        lambda: mg.where(X > 0, X, VECTOR),
        ValueError,
        ["where", "condition", "(2, 3)", "(4,)"],
    ),
    "matmul": (lambda: leaf() @ X, ValueError, ["matmul", "(2, 3)"]),
    "matmul-batch": (
        lambda: mg.matmul(np.ones((2, 3, 4)), np.ones((5, 4, 6))),
        ValueError,
        ["matmul", "(2, 3, 4)", "(5, 4, 6)"],
    ),
    "matmul-vector": (lambda: mg.matmul(X, VECTOR), ValueError, ["matmul", "(2, 3)", "(4,"]),
    "matmul-scalar": (lambda: mg.matmul(X, 2.0), ValueError, ["matmul", "scalar", "*"]),
    "dot": (lambda: mg.dot(X, VECTOR), ValueError, ["(2, 3)", "(4,"]),
    "reshape": (lambda: mg.reshape(X, (4, 2)), ValueError, ["reshape", "(2, 3)", "(4,2)"]),
    "reshape-two-unknowns": (lambda: mg.reshape(X, (-1, -1)), ValueError, ["reshape", "(2, 3)"]),
    "broadcast_to": (
        lambda: mg.broadcast_to(X, (3, 3)),
        ValueError,
        ["broadcast_to", "(2, 3)", "(3,3)"],
    ),
    "concatenate": (
        lambda: mg.concatenate([leaf(), np.ones((2, 4))]),
        ValueError,
        ["concatenate", "(2, 3)", "(2, 4)"],
    ),
    "concatenate-nothing": (
        lambda: mg.concatenate([]),
        ValueError,
        ["concatenate", "one array"],
    ),
    "stack": (lambda: mg.stack([X, VECTOR]), ValueError, ["stack", "(2, 3)", "(4,)"]),
    "stack-nothing": (lambda: mg.stack([]), ValueError, ["stack", "one array"]),
    "split": (lambda: mg.split(X, 2, axis=1), ValueError, ["split", "axis 1", "3", "2"]),
    "squeeze": (lambda: mg.squeeze(X, axis=0), ValueError, ["squeeze", "axis 0", "(2, 3)", "2"]),
    "pad-pairs": (lambda: mg.pad(X, ((1, 1),) * 3), ValueError, ["pad", "2 axes"]),
    "pad-negative": (lambda: mg.pad(X, -1), ValueError, ["pad", "-1", "negative"]),
    "scatter_add": (
        lambda: mg.scatter_add(X, np.array([0, 1]), np.ones((2, 4))),
        ValueError,
        ["scatter_add", "(2, 4)", "(2, 3)"],
    ),
    "take_along_axis": (
        lambda: mg.take_along_axis(X, np.array([0, 1]), axis=1),
        ValueError,
        ["take_along_axis", "(2,)", "(2, 3)"],
    ),
    "trace": (lambda: mg.trace(VECTOR), ValueError, ["trace", "(4,)"]),
    "inv": (lambda: mg.inv(X), ValueError, ["inv", "(2, 3)", "square"]),
    "solve": (lambda: mg.solve(X, VECTOR), ValueError, ["solve", "(2, 3)"]),
    "solve-sizes": (
        lambda: mg.solve(np.eye(3), VECTOR),
        ValueError,
        ["solve", "(3, 3)", "(4,"],
    ),
    "cholesky": (lambda: mg.cholesky(X), ValueError, ["cholesky", "(2, 3)", "square"]),
    "inv-singular": (lambda: mg.inv(np.zeros((2, 2))), ValueError, ["inv", "ingular"]),
    "cholesky-indefinite": (
        lambda: mg.cholesky(-np.eye(2)),
        ValueError,
        ["cholesky", "positive definite"],
    ),
    "layer_norm": (
        lambda: mg.layer_norm(X, np.ones(4)),
        ValueError,
        ["layer_norm", "weight", "(4,)", "(3,)", "(2, 3)"],
    ),
    "layer_norm-bias": (
        lambda: mg.layer_norm(leaf(), np.ones(3), np.ones(2)),
        ValueError,
        ["layer_norm", "bias", "(2,)", "(3,)"],
    ),
    "rms_norm": (
        lambda: mg.rms_norm(X, np.ones((1, 3))),
        ValueError,
        ["rms_norm", "weight", "(1, 3)", "(3,)"],
    ),
    "cross_entropy": (
        lambda: mg.cross_entropy(X, np.array([0, 1, 2])),
        ValueError,
        ["cross_entropy", "targets", "(3,)", "(2, 3)", "(2,)"],
    ),
    "cross_entropy-probabilities": (
        lambda: mg.cross_entropy(X, np.ones((2, 4))),
        ValueError,
        ["cross_entropy", "targets", "(2, 4)", "(2, 3)"],
    ),
    "attention-width": (
        lambda: mg.scaled_dot_product_attention(*heads((1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3, 5))),
        ValueError,
        ["scaled_dot_product_attention", "q (1, 2, 3, 4)", "k (1, 2, 3, 5)"],
    ),
    "attention-heads": (
        lambda: mg.scaled_dot_product_attention(*heads((1, 5, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4))),
        ValueError,
        ["scaled_dot_product_attention", "5 query heads", "2 key"],
    ),
    "attention-axes": (
        lambda: mg.scaled_dot_product_attention(*heads((2, 3, 4), (2, 3, 4), (2, 3, 4))),
        ValueError,
        ["scaled_dot_product_attention", "(2, 3, 4)", "heads"],
    ),
    "attention-mask": (
        lambda: mg.scaled_dot_product_attention(
            *heads((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)), mask=np.ones((3, 4), bool)
        ),
        ValueError,
        ["scaled_dot_product_attention", "mask", "(3, 4)", "(1, 2, 3, 5)"],
    ),
    # Dtypes
    "tensor-of-text": (lambda: mg.tensor("abc"), TypeError, ["tensor", "float"]),
    "tensor-of-objects": (lambda: mg.tensor([1.0, None]), TypeError, ["tensor"]),
    "tensor-of-complex": (lambda: mg.tensor(np.array([1j])), TypeError, ["tensor", "complex128"]),
    "tensor-ragged": (lambda: mg.tensor([[1.0], [1.0, 2.0]]), ValueError, ["tensor", "shape"]),
    "tensor-of-unknown-dtype": (
        lambda: mg.tensor(1.0, dtype="float12"),
        TypeError,
        ["dtype", "float12"],
    ),
    "astype": (lambda: mg.tensor(X).astype("floaty"), TypeError, ["astype", "floaty"]),
    "concatenate-two-halves": (
        lambda: mg.concatenate([X.astype(np.float16), X.astype(mg.bfloat16)]),
        TypeError,
        ["concatenate", "float16 (2, 3)", "bfloat16 (2, 3)"],
    ),
    "embedding-floats": (
        lambda: mg.embedding(X, VECTOR),
        TypeError,
        ["embedding", "float64"],
    ),
    "take-floats": (lambda: mg.take(X, VECTOR), TypeError, ["take", "float64", "integers"]),
    "cross_entropy-integers": (
        lambda: mg.cross_entropy(IDS, np.array([0, 1])),
        TypeError,
        ["cross_entropy", "logits", "int64"],
    ),
    "requires_grad-integers": (
        lambda: mg.tensor([1, 2], requires_grad=True),
        TypeError,
        ["requires_grad", "int64", "float"],
    ),
    "grad-integers": (
        lambda: mg.grad(lambda n: mg.sum(n * 1.0))(IDS),
        TypeError,
        ["grad", "argument 0", "int64", "float"],
    ),
    "grad-python-integer": (
        lambda: mg.grad(mg.exp)(3),
        TypeError,
        ["grad", "int64", "1.0"],
    ),
    "vjp-integers": (lambda: mg.vjp(mg.exp, IDS), TypeError, ["vjp", "int64", "float"]),
    "jvp-integers": (lambda: mg.jvp(mg.exp, (IDS,), (IDS,)), TypeError, ["jvp", "int64", "float"]),
    "jacobian-integers": (lambda: mg.jacobian(mg.exp)(IDS), TypeError, ["int64", "float"]),
    # Axes
    "sum-axis": (lambda: mg.sum(X, axis=2), ValueError, ["sum", "axis 2", "(2, 3)"]),
    "mean-axis": (lambda: mg.mean(leaf(), axis=-3), ValueError, ["mean", "axis -3", "(2, 3)"]),
    "max-axis": (lambda: mg.max(X, axis=(0, 2)), ValueError, ["max", "axis 2", "(2, 3)"]),
    "sum-axis-twice": (lambda: mg.sum(X, axis=(0, 0)), ValueError, ["sum", "axis", "(2, 3)"]),
    "var-axis": (lambda: mg.var(X, axis=5), ValueError, ["axis 5", "dimension 2"]),
    "softmax-axis": (lambda: mg.softmax(leaf(), axis=2), ValueError, ["axis 2", "(2, 3)"]),
    "cumsum-axis": (lambda: mg.cumsum(X, axis=2), ValueError, ["cumsum", "axis 2", "(2, 3)"]),
    "sort-axis": (lambda: mg.sort(X, axis=2), ValueError, ["sort", "axis 2", "(2, 3)"]),
    "concatenate-axis": (
        lambda: mg.concatenate([X, X], axis=2),
        ValueError,
        ["concatenate", "axis 2", "(2, 3)"],
    ),
    "transpose-axes": (lambda: mg.transpose(X, (0, 1, 2)), ValueError, ["transpose", "(2, 3)"]),
    "transpose-repeated": (lambda: mg.transpose(X, (0, 0)), ValueError, ["transpose", "(2, 3)"]),
    "swapaxes": (lambda: mg.swapaxes(X, 0, 2), ValueError, ["axis 2", "dimension 2"]),
    "expand_dims": (lambda: mg.expand_dims(X, 4), ValueError, ["axis 4", "dimension 3"]),
    "max-of-nothing": (lambda: mg.max(np.zeros((0, 3)), axis=0), ValueError, ["max", "(0, 3)"]),
    # einsum strings
    "einsum-operands": (
        lambda: mg.einsum("ij,jk->ik", X),
        ValueError,
        ["einsum", "ij,jk->ik", "2 operands", "1"],
    ),
    "einsum-axes": (
        lambda: mg.einsum("ijk->i", X),
        ValueError,
        ["einsum", "ijk", "3 axes", "operand 0", "(2, 3)"],
    ),
    "einsum-sizes": (
        lambda: mg.einsum("ij,jk->ik", leaf(), X),
        ValueError,
        ["einsum", "'j'", "3", "2", "operand 1", "(2, 3)"],
    ),
    "einsum-diagonal": (lambda: mg.einsum("ii->i", X), ValueError, ["einsum", "'i'", "2", "3"]),
    "einsum-output": (
        lambda: mg.einsum("ij->ik", X),
        ValueError,
        ["einsum", "'k'", "output", "no operand"],
    ),
    "einsum-output-twice": (
        lambda: mg.einsum("ij->ii", X),
        ValueError,
        ["einsum", "twice", "output", "ij->ii"],
    ),
    "einsum-character": (lambda: mg.einsum("i$->i", X), ValueError, ["einsum", "'$'", "letters"]),
    "einsum-dots": (lambda: mg.einsum("i..->i", X), ValueError, ["einsum", "'.'", "..."]),
    "einsum-arrows": (lambda: mg.einsum("ij->i->j", X), ValueError, ["einsum", "ij->i->j"]),
    "einsum-no-string": (lambda: mg.einsum(X, "ij->i"), TypeError, ["einsum", "str"]),
    "einsum-no-size-1": (
        lambda: mg.einsum("ij,jk->ik", X, np.ones((1, 4))),
        ValueError,
        ["einsum", "'j'", "3", "1"],
    ),
    # Indices
    "index": (lambda: mg.tensor(X)[2], IndexError, ["getitem", "2", "(2, 3)"]),
    "index-array": (lambda: leaf()[np.array([0, 5])], IndexError, ["getitem", "5", "(2, 3)"]),
    "index-count": (lambda: leaf()[0, 0, 0], IndexError, ["getitem", "(2, 3)", "3"]),
    "index-float": (lambda: mg.tensor(X)[VECTOR], IndexError, ["getitem", "float64", "integers"]),
    "index-mask": (
        lambda: mg.tensor(X)[np.array([True, False, True])],
        IndexError,
        ["getitem", "(2, 3)", "3"],
    ),
    "take": (lambda: mg.take(X, np.array([3]), axis=1), IndexError, ["3", "(2, 3)"]),
    "topk": (lambda: mg.topk(X, 4), ValueError, ["topk", "4", "3", "axis 1"]),
    "embedding": (
        lambda: mg.embedding(X, np.array([[0, 1], [2, 0]])),
        IndexError,
        ["embedding", "ids", "2", "(1, 0)", "0 to 1"],
    ),
    "embedding-negative": (
        lambda: mg.embedding(X, -IDS),
        IndexError,
        ["embedding", "-1"],
    ),
    "cross_entropy-class": (
        lambda: mg.cross_entropy(X, np.array([0, 3])),
        IndexError,
        ["cross_entropy", "targets", "3", "0 to 2"],
    ),
    "one_hot": (lambda: mg.one_hot(np.array([4]), 3), IndexError, ["one_hot", "4", "0 to 2"]),
    # Parameters
    "unknown-parameter": (
        lambda: mg.sum(X, dim=1),
        TypeError,
        ["sum", "dim", "axis"],
    ),
    "missing-argument": (lambda: mg.multiply(X), TypeError, ["multiply", "y"]),
    "surplus-argument": (lambda: mg.exp(X, X), TypeError, ["exp", "2"]),
    "gelu": (lambda: mg.gelu(X, approximate="erf"), ValueError, ["gelu", "'erf'", '"tanh"']),
    "norm": (lambda: mg.norm(X, ord="fro"), ValueError, ["norm", "ord", "'fro'", "inf"]),
    "clip": (lambda: mg.clip(X), ValueError, ["clip", "min", "max"]),
    "dropout": (lambda: mg.dropout(X, p=1.5), ValueError, ["dropout", "1.5", "0 <= p"]),
    "cross_entropy-reduction": (
        lambda: mg.cross_entropy(X, np.array([0, 1]), reduction="average"),
        ValueError,
        ["cross_entropy", "'average'", '"mean"'],
    ),
    "jacobian-mode": (
        lambda: mg.jacobian(mg.exp, mode="both"),
        ValueError,
        ["jacobian", "'both'", '"reverse"', '"forward"'],
    ),
    # Devices
    "device": (lambda: mg.tensor(1.0, device="tpu"), ValueError, ["'tpu'", '"cpu"', '"cuda"']),
    "device-to": (lambda: mg.tensor(1.0).to("gpu:x"), ValueError, ["'gpu:x'", '"cuda"']),
    # backward
    "backward-non-scalar": (
        lambda: (leaf() * 2.0).backward(),
        RuntimeError,
        ["backward", "(2, 3)", "sum()", "gradient="],
    ),
    "backward-gradient-shape": (
        lambda: (leaf() * 2.0).backward(np.ones((3, 2))),
        ValueError,
        ["backward", "gradient", "(3, 2)", "(2, 3)"],
    ),
    "backward-without-graph": (
        lambda: mg.sum(mg.tensor(X)).backward(),
        RuntimeError,
        ["backward", "requires_grad"],
    ),
    "backward-freed": (
        freed_twice,
        RuntimeError,
        ["backward", "freed", "sum", "retain_graph=True"],
    ),
    "backward-written": (
        written_after_saved,
        RuntimeError,
        ["backward", "sin", "x", "(2, 3)", "changed in place"],
    ),
    "write-result": (write_part_of_a_graph, RuntimeError, ["in-place", "graph", "where"]),
    "write-leaf": (write_leaf, RuntimeError, ["in-place", "no_grad"]),
    "write-shape": (write_wrong_shape, ValueError, ["in-place", "(4,)", "(3,)"]),
    "requires_grad-of-a-result": (
        lambda: (leaf() * 1.0).requires_grad_(),
        RuntimeError,
        ["requires_grad_", "detach()"],
    ),
    # Transforms
    "grad-non-scalar": (
        lambda: mg.grad(mg.exp)(X),
        ValueError,
        ["grad", "(2, 3)", "sum()", "jacobian"],
    ),
    "grad-of-text": (returning("loss"), TypeError, ["grad", "str", "number"]),
    "grad-of-integers": (returning(mg.tensor(3)), TypeError, ["grad", "int64", "floating"]),
    "grad-argnums": (
        lambda: mg.grad(mg.sum, argnums=1)(X),
        ValueError,
        ["grad", "argument 1", "1"],
    ),
    "grad-of-nothing-differentiable": (
        lambda: mg.grad(lambda s: 1.0)("text"),
        TypeError,
        ["grad", "argument 0"],
    ),
    "pullback-shape": (
        lambda: mg.vjp(mg.exp, X)[1](VECTOR),
        ValueError,
        ["pullback", "(4,)", "(2, 3)"],
    ),
    "pullback-structure": (
        lambda: mg.vjp(lambda x: (x, x), X)[1](X),
        ValueError,
        ["pullback", "structure", "(*, *)"],
    ),
    "jvp-shape": (
        lambda: mg.jvp(mg.exp, (X,), (VECTOR,)),
        ValueError,
        ["jvp", "tangent 0", "(4,)", "(2, 3)"],
    ),
    "jvp-count": (lambda: mg.jvp(mg.exp, (X,), (X, X)), ValueError, ["jvp", "tangents", "(*, *)"]),
    "jvp-no-tuples": (lambda: mg.jvp(mg.exp, X, X), TypeError, ["jvp", "tuple", "(x,)"]),
    "linearize-shape": (
        lambda: mg.linearize(mg.exp, X)[1](VECTOR),
        ValueError,
        ["(4,)", "(2, 3)"],
    ),
    "hvp-shape": (
        lambda: mg.hvp(mg.sum, (X,), (VECTOR,)),
        ValueError,
        ["(4,)", "(2, 3)"],
    ),
    "hvp-non-scalar": (lambda: mg.hvp(mg.exp, (X,), (X,)), ValueError, ["(2, 3)", "sum()"]),
    "check_grads-single": (
        lambda: mg.check_grads(mg.exp, (X.astype(np.float32),)),
        TypeError,
        ["check_grads", "float64"],
    ),
    "check_grads-mode": (
        lambda: mg.check_grads(mg.exp, (X,), modes=("rev",)),
        ValueError,
        ["check_grads", "'rev'", "forward", "reverse"],
    ),
    "numpy-inside": (
        lambda: mg.grad(lambda x: mg.sum(np.asarray(x)))(X),
        TypeError,
        ["NumPy array", "detach()"],
    ),
    # Tensors as numbers
    "bool": (lambda: bool(mg.tensor(X) > 0), ValueError, ["bool", "(2, 3)", "all()"]),
    "item": (lambda: mg.tensor(X).item(), ValueError, ["item", "(2, 3)", "one element"]),
    "float": (lambda: float(mg.tensor(X)), ValueError, ["float", "(2, 3)"]),
    "len": (lambda: len(mg.tensor(1.0)), TypeError, ["len()"]),
    # detect_anomaly
    "anomaly-log": (
        anomalous(lambda: mg.log(mg.tensor(X))),
        FloatingPointError,
        ["log", "NaN", "x", "float64 (2, 3)"],
    ),
    "anomaly-divide": (
        anomalous(lambda: mg.divide(leaf(), np.zeros(3))),
        FloatingPointError,
        ["divide", "infinity", "x float64 (2, 3)", "y float64 (3,)"],
    ),
    "anomaly-came-in": (
        anomalous(lambda: mg.multiply(X, np.array([1.0, math.nan, 1.0]))),
        FloatingPointError,
        ["multiply", "NaN", "y float64 (3,) (already not finite)"],
    ),
    "anomaly-backward": (
        anomalous(lambda: backward_of(lambda x: mg.sum(mg.sqrt(x)), np.array([0.0, 4.0]))),
        FloatingPointError,
        ["backward of sqrt", "gradient of x"],
    ),
    "anomaly-fused": (
        anomalous(lambda: mg.softmax(mg.tensor(np.array([[1.0, math.nan]])))),
        FloatingPointError,
        ["NaN", "(1, 2)"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_a_message_that_helps(name):
    call, exception, fragments = BAD[name]
    with pytest.raises(exception) as caught:
        call()
    message = str(caught.value)
    missing = [fragment for fragment in fragments if fragment not in message]
    assert not missing, f"{missing} not in {type(caught.value).__name__}: {message}"


@pytest.mark.skipif(find_spec("cupy") is not None, reason="CuPy is installed here")
def test_asking_for_a_gpu_where_there_is_none_says_whom_to_ask():
    with pytest.raises(RuntimeError, match=r"'cuda'.*minigrad doctor"):
        mg.tensor([1.0], device="cuda")


@pytest.mark.gpu
def test_operands_on_two_devices_are_refused_with_both_named(device):
    if device == "cpu":
        pytest.skip("needs a second device")
    with pytest.raises((TypeError, ValueError)) as caught:
        mg.add(mg.tensor(X, device=device), mg.tensor(X))
    for fragment in ("add", "cpu", device, "to("):
        assert fragment in str(caught.value)


def test_kernels_and_specifications_refuse_alike():
    """The message does not depend on whether a fast kernel would have taken the call."""
    fused = [n for n in BAD if n.startswith(("layer", "rms", "cross", "attention", "embedding"))]
    for name in fused:
        call, exception, _ = BAD[name]
        messages = []
        for on in (True, False):
            with mg.use_kernels(on), pytest.raises(exception) as caught:
                call()
            messages.append(str(caught.value))
        assert messages[0] == messages[1], name


def test_an_error_in_backward_names_the_op_whose_rule_failed():
    from minigrad.engine import primitive

    @primitive
    def halved(x):
        return x / 2.0

    def broken(g):
        raise ValueError("the rule itself is wrong")

    halved.vjp(broken)
    with pytest.raises(ValueError, match=r"halved.*the rule itself is wrong"):
        mg.sum(halved(leaf())).backward()


def test_a_rule_that_asks_for_an_unknown_name_is_refused_when_it_is_written():
    from minigrad.engine import primitive

    @primitive
    def halved(x):
        return x / 2.0

    with pytest.raises(TypeError, match=r"halved.*'z'"):
        halved.vjp(lambda g, z: g / 2.0)


def test_a_primitive_without_rules_says_so_when_it_is_differentiated():
    from minigrad.engine import primitive

    @primitive
    def mystery(x):
        return x * 3.0

    for derivative in (
        lambda: mg.grad(lambda x: mg.sum(mystery(x)))(X),
        lambda: mg.jvp(mystery, (X,), (X,)),
    ):
        with pytest.raises(NotImplementedError, match="mystery"):
            derivative()


# Tokens and checkpoints


def test_an_unknown_token_is_named_with_its_place():
    from minigrad.text import CharTokenizer

    tokenizer = CharTokenizer("abc ")
    with pytest.raises(ValueError, match=r"'z' at position 3"):
        tokenizer.encode("ab zc")
    with pytest.raises((ValueError, IndexError), match="7"):
        tokenizer.decode([1, 7])


DAMAGE = {
    "empty": lambda content: b"",
    "foreign": lambda content: b"PK\x03\x04" + content,
    "cut short": lambda content: content[: len(content) // 2],
    "one byte changed": lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_checkpoint_is_refused_by_name(damage, tmp_path):
    from minigrad.models import GPT, GPTConfig, safetensors
    from minigrad.training import load_model

    path = tmp_path / "model.safetensors"
    model = GPT(GPTConfig(vocab_size=5, context_length=4, d_model=4, n_heads=1, n_layers=1))
    safetensors.save(path, dict(model.state_dict()))
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load_model(path)


def test_a_file_of_another_program_is_refused_as_a_checkpoint(tmp_path):
    from minigrad.models import safetensors
    from minigrad.training import load_model

    path = tmp_path / "other.safetensors"
    safetensors.save(path, {"weight": X})
    with pytest.raises(ValueError, match=r"other\.safetensors.*no minigrad checkpoint"):
        load_model(path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mg.tensor([1.0]) + "a", TypeError, "add: .*given x float32"),
        (lambda: mg.expand_dims(X, (0, 0)), ValueError, "expand_dims: axis .* twice"),
        (lambda: mg.pad(X, 1.5), TypeError, "pad: pad_width 1.5 is float64; expected integers"),
        (lambda: mg.dropout(IDS, 0.1), TypeError, "dropout: x has dtype int64"),
        (lambda: range(mg.tensor(2.0)), TypeError, "cannot be interpreted as an integer"),
    ],
    ids=["add", "expand_dims", "pad", "dropout", "range"],
)
def test_small_slips_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
