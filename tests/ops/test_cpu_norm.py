"""The C++ normalisation against torch's, in values, first and second derivatives."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mamba_mender.ops import cpu
from mamba_mender.ops.norm import rms_norm

EPS = 1e-5
built = pytest.mark.parametrize("isa", cpu.instruction_sets() if cpu.is_built() else [])


def kernel(**tensors):
    from mamba_mender.ops.cpu_norm import norm_forward

    return norm_forward(tensors["x"], tensors["weight"], EPS)


def plain(**tensors):
    return F.rms_norm(tensors["x"], tensors["weight"].shape, tensors["weight"], EPS)


@pytest.fixture
def dirty_memory():
    """Fill fresh memory with NaN, so that what a kernel forgets to write is seen."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


def inputs(*shape, layout="dense"):
    x = torch.randn(*shape, dtype=torch.float64)
    if layout == "sliced":
        x = torch.randn(*shape[:-1], shape[-1] + 3, dtype=torch.float64)[..., 1:-2]
    elif layout == "transposed":
        x = torch.randn(*shape[:-2], shape[-1], shape[-2], dtype=torch.float64).mT
    return {"x": x, "weight": torch.randn(shape[-1], dtype=torch.float64)}


@built
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 2), (3, 5), (2, 7, 16), (65, 33), (2, 129, 48), (1, 192)], ids=str)
@pytest.mark.parametrize("layout", ["dense", "sliced", "transposed"])
@pytest.mark.usefixtures("dirty_memory")
def test_agrees_to_second_order(ladder, isa, dtype, shape, layout):
    given = inputs(*shape, layout=layout)
    expected = ladder.derivatives(plain, given)
    with cpu.force_instruction_set(isa):
        found = ladder.derivatives(kernel, given, dtype)
    bounds = ladder.exact if dtype == torch.float64 else ladder.single
    ladder.assert_agree(found, expected, bounds)


@built
def test_gradcheck(isa):
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, dtype=torch.float64, requires_grad=True)
    with cpu.force_instruction_set(isa):
        assert torch.autograd.gradcheck(lambda x, w: kernel(x=x, weight=w), (x, weight))
        assert torch.autograd.gradgradcheck(lambda x, w: kernel(x=x, weight=w), (x, weight))


@built
def test_expanded_gradients_and_no_rows(isa):
    x, weight = torch.randn(4, 5, requires_grad=True), torch.randn(5, requires_grad=True)
    with cpu.force_instruction_set(isa):
        found = torch.autograd.grad(kernel(x=x, weight=weight).sum(), (x, weight))
        none = torch.autograd.grad(kernel(x=x[:0], weight=weight).sum(), weight)[0]
    assert_close(found, torch.autograd.grad(plain(x=x, weight=weight).sum(), (x, weight)))
    assert_close(none, torch.zeros(5))


@built
def test_nan_stays_in_its_row(isa):
    x = torch.randn(3, 20)
    x[1, 19] = torch.nan
    with cpu.force_instruction_set(isa):
        y = kernel(x=x, weight=torch.ones(20))
    assert y[1].isnan().all()
    assert y[::2].isfinite().all()


@built
def test_threads_change_no_bit(ladder, isa):
    x, weight = torch.randn(700, 96, requires_grad=True), torch.randn(96, requires_grad=True)
    cotangent = torch.randn(700, 96)

    def both():
        y = kernel(x=x, weight=weight)
        return y, *torch.autograd.grad(y, (x, weight), cotangent)

    with cpu.force_instruction_set(isa):
        found = ladder.by_threads(both)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, found[0], strict=True))


@built
def test_operator_contract(isa):
    from mamba_mender.ops import cpu_norm

    assert cpu.extension().ROWS_A_SHARE == cpu_norm.ROWS_A_SHARE
    x, weight, grad = (torch.randn(shape, requires_grad=True) for shape in ((2, 3, 5), (5,), (2, 3, 5)))
    with cpu.force_instruction_set(isa):
        torch.library.opcheck(torch.ops.mamba_mender.norm_forward.default, (x, weight, EPS))
        torch.library.opcheck(torch.ops.mamba_mender.norm_backward.default, (grad, x, weight, EPS))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.ones(8), r"weight must be \(40,\), got \(8,\)"),
        (torch.ones(40, dtype=torch.bfloat16), "weight must have x's dtype and device, torch.float32 on cpu"),
    ],
    ids=["size", "dtype"],
)
def test_refuses_a_weight_that_does_not_fit(weight, message):
    with pytest.raises(ValueError, match=f"rms_norm: {message}"):
        rms_norm(torch.ones(2, 40), weight, 1e-5)


def test_second_order_of_a_single_row():
    row, weight = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    leaves = (row.requires_grad_(), weight.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda x, w: rms_norm(x, w, 1e-5), leaves)
