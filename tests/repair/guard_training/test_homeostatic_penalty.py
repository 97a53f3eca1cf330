"""What keeps the activity of channels where it is when the model is healthy."""

import math

import pytest
import torch

from mamba_mender.repair.guard_training.homeostatic_penalty import homeostatic_penalty
from mamba_mender.repair.guard_training.running_law import RunningLaw


@pytest.fixture
def states():
    return torch.randn(50, 4, 3) + torch.tensor([0.0, 2.0, -1.0])


@pytest.fixture
def healthy(states):
    return RunningLaw.measure(states, bands=2)


def test_it_is_0_on_healthy_states(states, healthy):
    assert homeostatic_penalty(states, healthy).item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_it_is_the_squared_logarithm_of_a_factor(factor, states, healthy):
    assert homeostatic_penalty(factor * states, healthy).item() == pytest.approx(math.log(2) ** 2, rel=1e-4)
    one = states * torch.tensor([factor, 1.0, 1.0])
    assert homeostatic_penalty(one, healthy).item() == pytest.approx(math.log(2) ** 2 / 3, rel=1e-4)


def test_its_gradient_leads_back(states, healthy):
    shifted = (1.5 * states).requires_grad_()
    before = homeostatic_penalty(shifted, healthy)
    before.backward()
    with torch.no_grad():
        after = homeostatic_penalty(shifted - 20 * shifted.grad, healthy)
    assert after < before


def test_silent_channels_have_a_finite_penalty(healthy, states):
    assert homeostatic_penalty(0 * states, healthy).isfinite()
