"""An op that is called by the shortest way must be seen by whoever listens to torch's dispatcher."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mamba_mender.ops.differentiable_op import differentiable_op

ran = []


def run_cube(x: torch.Tensor) -> torch.Tensor:
    ran.append("run")
    return x**3


def save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def backward(ctx, grad):
    (x,) = ctx.saved_tensors
    return 3 * x**2 * grad


cube = differentiable_op("mamba_mender_tests::cube", run_cube, torch.empty_like, save, backward)


class Listener(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.heard = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.heard.append(str(func))
        return func(*args, **kwargs or {})


def test_value_and_derivatives():
    x = torch.tensor([2.0], requires_grad=True)
    (first,) = torch.autograd.grad(cube(x), x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    assert (cube(x).item(), first.item(), second.item()) == (8, 12, 12)


def test_leaves_no_graph_where_none_is_wanted():
    x = torch.ones(1, requires_grad=True)
    with torch.no_grad():
        assert not cube(x).requires_grad
    assert not cube(x.detach()).requires_grad
    assert cube(x).requires_grad


def test_a_dispatch_mode_hears_the_op():
    x = torch.ones(1, requires_grad=True)
    with Listener() as listener:
        y = cube(x)
    assert listener.heard[0] == "mamba_mender_tests.cube.default"
    y.backward()
    assert x.grad == 3


def test_a_fake_tensor_never_reaches_the_kernel():
    ran.clear()
    with FakeTensorMode():
        inside = torch.ones(3)
        assert cube(inside).shape == (3,)
    assert cube(inside).shape == (3,)  # a fake tensor is known outside its mode too
    assert not ran


def test_compiles_whole():
    torch.compiler.reset()
    x = torch.tensor([2.0], requires_grad=True)
    y = torch.compile(lambda x: cube(x) + 1, fullgraph=True, backend="aot_eager")(x)
    y.backward()
    assert (y.item(), x.grad.item()) == (9, 12)


def test_has_no_gradient_without_one_registered():
    def refuse(ctx, grad):
        raise NotImplementedError("no more")

    last = differentiable_op("mamba_mender_tests::last", run_cube, torch.empty_like, None, refuse)
    y = last(torch.ones(1, requires_grad=True))
    with pytest.raises(NotImplementedError, match="no more"):
        y.backward()
