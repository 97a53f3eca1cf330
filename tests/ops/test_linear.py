import pytest
import torch
import torch.nn.functional as F
from torch.autograd import grad
from torch.testing import assert_close

from mamba_mender.ops import linear as module
from mamba_mender.ops.linear import linear, product

onednn = pytest.mark.parametrize("multiply", [product] if torch.backends.mkldnn.is_available() else [])
LAYOUTS = {
    "dense": lambda *shape: torch.randn(shape),
    "sliced": lambda *shape: torch.randn(*shape[:-1], shape[-1] + 9)[..., 2:-7],
    "transposed": lambda *shape: torch.randn(*shape[:-2], shape[-1], shape[-2]).mT,
    "expanded": lambda *shape: torch.randn(*shape[:-1], 1).expand(shape),
}


def derivatives(multiply, x, weight, cotangent, tangents):
    """The product, its gradients, and the gradients of those along tangents."""
    x, weight, cotangent = (t.detach().requires_grad_() for t in (x, weight, cotangent))
    y = multiply(x, weight)
    first = grad(y, (x, weight), cotangent, create_graph=True)
    second = grad(sum((g * t).sum() for g, t in zip(first, tangents, strict=True)), (x, weight, cotangent))
    return y, *first, *second


@onednn
@pytest.mark.parametrize("worth", [0, 1 << 40], ids=["onednn", "default"])
@pytest.mark.parametrize("of_weight", LAYOUTS)
@pytest.mark.parametrize("of_x", LAYOUTS)
@pytest.mark.parametrize("sizes", [(3, 5), (33, 8), (12, 40)], ids=str)
def test_equals_the_exact_product_to_second_order(multiply, of_x, of_weight, sizes, worth, monkeypatch):
    monkeypatch.setattr(module, "WORTH", worth)
    inner, outer = sizes
    x, weight = LAYOUTS[of_x](2, 7, inner), LAYOUTS[of_weight](outer, inner)
    rest = [torch.randn(2, 7, outer), (torch.randn(2, 7, inner), torch.randn(outer, inner))]
    found = derivatives(multiply, x, weight, *rest)
    exact = derivatives(F.linear, x.double(), weight.double(), rest[0].double(), [t.double() for t in rest[1]])
    for mine, right in zip(found, exact, strict=True):
        assert mine.shape == right.shape
        assert (mine - right).norm() <= 1e-6 * right.norm()


@onednn
def test_gives_only_what_is_asked_for(multiply):
    x, weight = torch.randn(2, 3, 4), torch.randn(5, 4, requires_grad=True)
    multiply(x, weight).sum().backward()
    assert x.grad is None
    assert_close(weight.grad, x.sum((0, 1)).expand(5, 4))


@onednn
def test_operator_contract(multiply):
    x, weight = torch.randn(2, 3, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    torch.library.opcheck(torch.ops.mamba_mender.linear.default, (x, weight))


def test_a_compiled_call_takes_the_op_at_any_size(calls):
    torch.compiler.reset()
    x, weight = torch.randn(2, 64), torch.randn(64, 64)
    assert_close(torch.compile(linear, backend="eager")(x, weight), x @ weight.T)
    assert calls == [x.shape]


@onednn
def test_compiles_whole_with_its_backward(multiply):
    torch.compiler.reset()
    x, weight = torch.randn(2, 3, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    found = torch.compile(multiply, fullgraph=True, backend="aot_eager")(x, weight)
    assert_close(found, x @ weight.T)
    expected = grad((x @ weight.T).square().sum(), (x, weight))
    assert_close(grad(found.square().sum(), (x, weight)), expected)


@pytest.fixture
def calls(monkeypatch):
    """Count the products that go to oneDNN, on a processor where it wins."""
    seen = []
    monkeypatch.setattr(module, "ONEDNN_WINS", True)
    monkeypatch.setattr(module, "product", lambda x, weight: seen.append(x.shape) or F.linear(x, weight))
    return seen


def test_large_float32_products_go_to_onednn(calls):
    x, weight = torch.randn(4, 256, 64), torch.randn(64, 64)
    assert_close(linear(x, weight), x @ weight.T)
    assert calls == [x.shape]


@pytest.mark.parametrize("shape", [(4, 255, 64), (64,)], ids=str)
def test_small_products_do_not(calls, shape):
    linear(torch.randn(shape), torch.randn(64, 64))
    assert calls == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_do_not(calls, dtype):
    assert linear(torch.randn(1024, 64, dtype=dtype), torch.randn(64, 64, dtype=dtype)).dtype == dtype
    assert calls == []


def test_autocast_does_not(calls):
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(torch.randn(1024, 64), torch.randn(64, 64)).dtype == torch.bfloat16
    assert calls == []


def test_where_onednn_does_not_win_nothing_goes_there(calls, monkeypatch):
    monkeypatch.setattr(module, "ONEDNN_WINS", False)
    linear(torch.randn(1024, 64), torch.randn(64, 64))
    assert calls == []
