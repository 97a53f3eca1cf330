"""The path constraint: known values, its mean, its gradient, and what it must not depend on."""

import pytest
import torch
from torch import nn

from mamba_mender.repair import path_loss


class Linear(nn.Module):
    """Two classes whose log-odds are weight * the first pixel."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, images):
        odds = self.weight * images[:, 0, 0, 0]
        return torch.stack([odds, torch.zeros_like(odds)], dim=1)


def images_from(first, count=20_000):
    images = torch.zeros(count, 1, 2, 2, dtype=torch.float64)
    images[:, 0, 0, 0] = first
    return images


def test_is_the_fisher_information_of_the_prediction():
    weight, end = 2.0, 1.5
    loss = path_loss(Linear(weight), images_from(0.0), images_from(end), torch.Generator().manual_seed(0))
    places = torch.linspace(0, 1, 2001, dtype=torch.float64)
    p = torch.sigmoid(weight * end * places)
    expected = ((weight * end) ** 2 * p * (1 - p)).mean()  # of a Bernoulli variable, averaged over the path
    assert loss.item() == pytest.approx(expected.item(), rel=0.03)


def test_is_0_for_a_model_that_ignores_the_background():
    generator = torch.Generator().manual_seed(0)
    blind = images_from(1.0, 8)
    swapped = blind.clone()
    swapped[:, 0, 1, 1] = 5.0
    assert path_loss(Linear(3.0), blind, swapped, generator).item() == 0
    swapped[:, 0, 0, 0] = 2.0
    assert path_loss(Linear(3.0), blind, swapped, generator).item() > 0


def test_sees_a_jump_between_flat_places():
    """A model that is flat at both ends and steps between them has no gradient there, but a loss."""
    step = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    jump = lambda x: step(torch.sigmoid(40 * (x - 0.5)))  # noqa: E731
    start, end = images_from(0.0, 4000).float(), images_from(1.0, 4000).float()
    loss = path_loss(jump, start, end, torch.Generator().manual_seed(0))
    at_start = path_loss(jump, start, start + 1e-3 * (end - start), torch.Generator().manual_seed(0))
    assert loss.item() > 1e-3
    assert at_start.item() < 1e-12


def test_second_order_is_exact(tiny):
    images = torch.rand(3, 1, 4, 4, dtype=torch.float64)
    swapped = torch.rand(3, 1, 4, 4, dtype=torch.float64)
    weight = tiny.layers[0].mixer.x_proj.weight

    def loss(value):
        with torch.no_grad():
            weight.copy_(value)
        return path_loss(tiny, images, swapped, torch.Generator().manual_seed(5))

    start = weight.detach().clone()
    (gradient,) = torch.autograd.grad(loss(start), weight)
    direction = torch.randn_like(start)
    ahead, behind = (loss(start + step * direction).item() for step in (1e-5, -1e-5))
    assert (gradient * direction).sum().item() == pytest.approx((ahead - behind) / 2e-5, rel=1e-5)


def test_repeats_with_its_generator_and_refuses_other_shapes(tiny):
    images = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    first, again = (path_loss(tiny, images, 1 - images, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.item() == again.item()
    with pytest.raises(ValueError, match="path_loss: swapped has batch=1"):
        path_loss(tiny, images, images[:1], torch.Generator())
