"""The adapter to mamba_ssm, with a stand-in that has its kernel's signature and its habits. The kernel needs a GPU."""

import sys
from types import ModuleType

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.ops import mamba_ssm_scan, reference

NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")


class Kernel(torch.autograd.Function):
    """First derivatives of y alone, as in the package: those of the last state are dropped, and second ones too."""

    @staticmethod
    def forward(ctx, softplus, *tensors):
        ctx.softplus, ctx.tensors = softplus, tensors
        y, last = reference.selective_scan(*tensors, None, softplus, False)
        return y, last

    @staticmethod
    def backward(ctx, grad_y, _):
        with torch.enable_grad():
            leaves = [None if t is None else t.detach().requires_grad_() for t in ctx.tensors]
            y, _ = reference.selective_scan(*leaves, None, ctx.softplus, False)
            found = iter(torch.autograd.grad(y, [leaf for leaf in leaves if leaf is not None], grad_y))
        return None, *(None if leaf is None else next(found) for leaf in leaves)


def selective_scan_fn(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False, cu_seqlens=None
):
    assert cu_seqlens is None
    assert len({t.dtype for t in (u, delta, z, B, C) if t is not None and t.dim() > 2}) == 1
    assert {t.dtype for t in (A, D, delta_bias) if t is not None} == {torch.float32}
    y, last = Kernel.apply(delta_softplus, u, delta, A, B, C, D, z, delta_bias)
    return (y, last) if return_last_state else y


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    interface = ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = selective_scan_fn
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)


def arguments(ladder, dtype=torch.float32, **settings):
    inputs = ladder.scan_inputs(**settings) | {"initial_state": None}
    return [None if inputs.get(name) is None else inputs[name].to(dtype).requires_grad_() for name in NAMES]


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize(
    "settings", [{}, {"optional": False}, {"constant": "BC"}, {"channels": 6, "groups": 3}], ids=str
)
def test_agrees_with_the_reference(ladder, settings, reverse):
    tensors = arguments(ladder, **settings)
    leaves = [t for t in tensors if t is not None]
    results = []
    for run in (mamba_ssm_scan, reference):
        y, last = run.selective_scan(*tensors, True, reverse)
        results.append((y, last, *torch.autograd.grad(y.square().sum(), leaves)))
    assert_close(*results)


def test_only_what_needs_a_gradient_gets_one(ladder):
    tensors = [None if t is None else t.detach() for t in arguments(ladder)]
    tensors[2].requires_grad_()
    y, _ = mamba_ssm_scan.selective_scan(*tensors, True, False)
    y.sum().backward()
    assert [t is not None and t.grad is not None for t in tensors] == [i == 2 for i in range(9)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sequences_share_a_dtype(ladder, dtype):
    tensors = arguments(ladder, dtype)
    tensors[1] = tensors[1].detach().float().requires_grad_()  # which the kernel would refuse
    y, last = mamba_ssm_scan.selective_scan(*tensors, True, False)
    assert (y.dtype, last.dtype) == (dtype, torch.float32)
    y.sum().backward()
    assert all(t.grad.dtype == t.dtype for t in tensors if t is not None)


LACKING = {
    "an initial state": {"initial_state": torch.zeros(2, 3, 4)},
    "float64": {"delta": torch.ones(2, 3, 7, dtype=torch.float64)},
    "more than 256 states": {"A": torch.zeros(3, 257)},
}


@pytest.mark.parametrize(("what", "changed"), LACKING.items(), ids=LACKING.keys())
def test_refuses_what_the_kernel_lacks(ladder, what, changed):
    tensors = [changed.get(name, tensor) for name, tensor in zip(NAMES, arguments(ladder), strict=True)]
    message = f"backend 'mamba_ssm' does not support {what}; pass backend='triton' or 'reference'"
    with pytest.raises(NotImplementedError, match=message):
        mamba_ssm_scan.selective_scan(*tensors, True, False)


def test_refuses_the_gradients_that_the_kernel_drops(ladder):
    tensors = arguments(ladder)
    y, last = mamba_ssm_scan.selective_scan(*tensors, True, False)
    with pytest.raises(NotImplementedError, match="'mamba_ssm' has no gradient of the last state"):
        last.sum().backward()
    (first,) = torch.autograd.grad(y.square().sum(), tensors[:1], create_graph=True)
    with pytest.raises(NotImplementedError, match="'mamba_ssm' has first derivatives only; pass backend='triton'"):
        first.sum().backward()
