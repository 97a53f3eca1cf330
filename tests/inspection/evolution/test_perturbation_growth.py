import math

import pytest
import torch
from torch import nn

from mamba_mender.inspection.evolution import perturbation_growth
from mamba_mender.models import create_model
from mamba_mender.taps import StateKey, record


@pytest.fixture
def model():
    return create_model("vim_micro", num_classes=3, img_size=8).eval().double()


@pytest.fixture
def images():
    return torch.rand(2, 3, 8, 8, dtype=torch.float64)


class Step(nn.Module):
    """Stand in for a mixer, so that a block multiplies its stream by 1 + factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, tokens):
        return self.factor * tokens


@pytest.mark.parametrize("factor", [1.0, 0.0, -0.5])
def test_a_stream_that_is_multiplied_grows_by_the_logarithm(model, images, factor):
    for layer in model.layers:
        layer.norm, layer.mixer = nn.Identity(), Step(factor)
    result = perturbation_growth(model, images)
    assert result.exponent.tolist() == pytest.approx([math.log(1 + factor)] * 2, abs=1e-9)
    assert result.growth[0].tolist() == pytest.approx([n * math.log(1 + factor) for n in range(5)], abs=1e-9)
    assert result.curvature.max() < 1e-9


def test_agrees_with_the_derivative(model, images):
    """Each direction's growth is that of the Jacobian-vector product: take it by two backward passes."""
    with record(model, "h", scans=False) as run:
        model(images[:1])
    first, last = StateKey(-1, "h"), StateKey(3, "h")
    draw = torch.Generator().manual_seed(0)
    push = torch.randn(run.states[first].shape, dtype=torch.float64, generator=draw)
    weights = torch.randn(run.states[last].shape, dtype=torch.float64).requires_grad_()
    pulled = run.gradients((run.states[last] * weights).sum(), [first], create_graph=True)[first]
    (change,) = torch.autograd.grad((pulled * push).sum(), weights)  # J push
    expected = (change.norm() / push.norm()).log().item()
    result = perturbation_growth(model, images[:1], size=1e-5, directions=1, seed=0)
    assert result.growth[0, -1].item() == pytest.approx(expected, abs=1e-5)


def test_a_push_stays_where_it_was_made_until_a_block_mixes(model, images):
    result = perturbation_growth(model, images, positions=[2])
    assert torch.allclose(result.spread.sum(-1), torch.ones(2, 5, dtype=torch.float64))
    assert result.spread[:, 0, 2].tolist() == [1, 1]
    assert (result.spread[:, -1, 2] < 1).all()


def test_a_later_block_is_compared_with_itself(model, images):
    result = perturbation_growth(model, images, block=1)
    assert result.blocks.tolist() == [1, 2, 3]
    assert result.growth[:, 0].tolist() == [0, 0]


def test_a_large_push_is_not_linear(model, images):
    small, large = (perturbation_growth(model, images, size=size).curvature.max() for size in (1e-4, 10.0))
    assert small < 1e-4
    assert large > 1e-3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 0.0}, "must be above 0"),
        ({"directions": 0}, "must be above 0"),
        ({"block": 3}, "block must be one of"),
    ],
)
def test_refuses(model, images, given, message):
    with pytest.raises(ValueError, match=message):
        perturbation_growth(model, images, **given)


def test_refuses_to_push_nothing(model, images):
    for parameter in model.parameters():
        parameter.data.zero_()
    with pytest.raises(ValueError, match="pushed state is 0"):
        perturbation_growth(model, images)
