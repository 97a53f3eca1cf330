"""Whole models through torch.compile: one graph, the values and gradients of eager mode, one compilation."""

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.testing import assert_close

from mamba_mender.models import create_model
from mamba_mender.nn import Block, MambaMixer, RMSNorm
from mamba_mender.ops import available_backends


def make_stack():
    return nn.Sequential(*[Block(32, MambaMixer(32)) for _ in range(2)], RMSNorm(32)), torch.randn(4, 9, 32)


def make_vim(name, **settings):
    images = torch.randn(4, 3, 32, 32)
    return create_model(name, img_size=32, num_classes=10, **settings), images


CASES = {
    "vim_nano": lambda: make_vim("vim_nano"),
    "vim_tiny": lambda: make_vim("vim_tiny", depth=2),
    "mamba": make_stack,
}


# The reference is a loop over time, which is not made for compiling: without the kernel there is nothing to test.
@pytest.fixture(params=CASES if len(available_backends()) > 1 else [])
def case(request):
    torch.compiler.reset()
    return CASES[request.param]()


def outputs_and_gradients(call, model, x, *, autocast=False):
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = call(x)
    return y, torch.autograd.grad(y.float().square().mean(), list(model.parameters()))


@pytest.mark.parametrize("autocast", [False, True])
def test_one_graph_equals_eager_and_serves_any_batch_size(case, autocast):
    model, x = case
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    torch._dynamo.mark_dynamic(x, 0)
    for batch in (x, x[:3].clone(), torch.cat([x, x[:1]])):
        found = outputs_and_gradients(compiled, model, batch, autocast=autocast)
        assert_close(found, outputs_and_gradients(model, model, batch, autocast=autocast))
    assert counter.frame_count == 1


def test_nothing_breaks_the_graph(case):
    model, x = case
    explained = torch._dynamo.explain(model)(x)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # what inductor itself still calls
@pytest.mark.parametrize("mixer", [MambaMixer] if len(available_backends()) > 1 else [])
def test_inductor_equals_eager(mixer):
    torch.compiler.reset()
    block, h = Block(16, mixer(16)), torch.randn(2, 5, 16)
    found = outputs_and_gradients(torch.compile(block, fullgraph=True), block, h)
    assert_close(found, outputs_and_gradients(block, block, h), rtol=1e-4, atol=1e-6)
