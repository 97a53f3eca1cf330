"""States corrupted on purpose, and set right."""

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.repair.guard import GuardConfig
from mamba_mender.repair.guard.law import Law, law_of
from mamba_mender.repair.guard_training.running_law import RunningLaw
from mamba_mender.repair.guard_training.state_corruption import add_state_noise, change_gain, restore_moments

EXACT = GuardConfig(evidence=0, shrinkage=1e-12)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def states():
    scale = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    places = torch.tensor([2.0, -5.0, 7.0, 4.0], dtype=torch.float64)[:, None]
    return places + scale * torch.randn(60, 4, 3, dtype=torch.float64, generator=generator())


@pytest.fixture
def healthy(states):
    return RunningLaw.measure(states, bands=2)


def test_noise_is_of_one_scale_a_sample_in_healthy_deviations(states, healthy):
    wide = states.repeat(1, 500, 1)
    law = RunningLaw(Law(healthy.law.mean.repeat(500, 1), healthy.law.scatter), healthy.modes)
    noise = (add_state_noise(wide, law, 0.5, generator()) - wide) / healthy.deviation
    scales = noise.flatten(1).std(1)
    assert scales.max() < 0.52
    assert scales.min() < 0.1
    assert 0.2 < scales.mean() < 0.3
    assert_close(noise.std((0, 1)), noise.std().expand(3), rtol=0.03, atol=0)


@pytest.mark.parametrize("corrupt", [add_state_noise, change_gain])
def test_states_that_vary_more_are_corrupted_by_as_much_more_with_its_gradient(states, healthy, corrupt):
    """Else a model could learn to grow its states until noise of a fixed size is nothing beside them."""
    mean = healthy.law.mean.mean(0).expand(4, 3)  # about which a gain multiplies
    healthy = RunningLaw(Law(mean, healthy.law.scatter), healthy.modes)
    factor = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    plain = corrupt(states, healthy, 0.4, generator()) - mean
    grown = corrupt(mean + factor * (states - mean), healthy, 0.4, generator()) - mean
    assert_close(grown, 3 * plain)
    slope = torch.autograd.grad(grown.sum(), factor)[0]
    assert_close(slope, plain.sum())


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_healthy_states_get_noise_of_the_healthy_deviations_whatever_their_mean(states, healthy, offset):
    law = RunningLaw(Law(healthy.law.mean + offset, healthy.law.scatter), healthy.modes)
    noise = add_state_noise(states + offset, law, 0.5, generator()) - states - offset
    assert_close(noise, add_state_noise(states, healthy, 0.5, generator()) - states)


def test_large_half_precision_states_stay_finite(states, healthy):
    scale = 300.0  # whose square is no float16
    law = RunningLaw(Law(scale * healthy.law.mean, scale**2 * healthy.law.scatter), healthy.modes)
    half = (scale * states).half()
    for corrupt in (add_state_noise, change_gain):
        found = corrupt(half, law, 0.4, generator())
        assert found.dtype == torch.float16
        assert_close(found.double(), scale * corrupt(states, healthy, 0.4, generator()), rtol=5e-3, atol=0.01 * scale)


def test_no_noise_changes_nothing(states, healthy):
    assert torch.equal(add_state_noise(states, healthy, 0.0, generator()), states)


def test_a_gain_is_one_affine_map_of_each_channel_in_all_samples(states, healthy):
    moved = change_gain(states, healthy, 0.4, generator())
    for channel in range(3):
        x, y = states[..., channel].flatten(), moved[..., channel].flatten()
        slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
        assert_close(y, slope * x + y.mean() - slope * x.mean())
        assert slope > 0
        assert abs(slope - 1) > 1e-3
        assert abs(y.mean() - x.mean()) > 1e-3 * x.std()
    assert_close(change_gain(states, healthy, 0.0, generator()), states)


def test_a_gain_is_undone_to_rounding(states, healthy):
    moved = change_gain(states, healthy, 0.4, generator())
    restored = law_of(restore_moments(moved, healthy, EXACT), healthy.modes)
    assert_close(restored.mean, healthy.law.mean)
    assert_close(restored.scatter, healthy.law.scatter, rtol=1e-5, atol=1e-6)
    assert (law_of(moved, healthy.modes).mean - healthy.law.mean).abs().max() > 0.01


def test_few_samples_are_believed_little(states, healthy):
    far = states[:2] + 100
    trusting, wary = (restore_moments(far, healthy, GuardConfig(evidence=e)) for e in (0, 1000))
    assert_close(wary, far, rtol=1e-2, atol=1e-2)
    assert (trusting - far).abs().min() > 50


def test_strength_goes_part_of_the_way(states, healthy):
    moved = change_gain(states, healthy, 0.4, generator())
    whole = restore_moments(moved, healthy, EXACT)
    half = restore_moments(moved, healthy, GuardConfig(evidence=0, shrinkage=1e-12, strength=0.5))
    assert_close(half, (moved + whole) / 2)


def test_gradients_flow_through_the_repair_and_its_statistics(healthy, states):
    few = states[:5].clone().requires_grad_()

    def repaired(given):
        return restore_moments(given, healthy, GuardConfig(evidence=1, shrinkage=0.1))

    assert torch.autograd.gradcheck(repaired, few)
    (slope,) = torch.autograd.grad(repaired(few)[0].sum(), few)
    assert slope[1:].abs().max() > 1e-3  # other samples matter by the statistics alone


def test_half_precision_states_come_back_as_they_were(healthy, states):
    with torch.autocast("cpu", torch.bfloat16):
        out = restore_moments(states.bfloat16(), healthy, GuardConfig())
    assert out.dtype == torch.bfloat16
    assert_close(out.double(), restore_moments(states, healthy, GuardConfig()), rtol=0.1, atol=0.3)


def test_gradients_are_finite_where_all_channels_vary_alike():
    eye = torch.eye(3, dtype=torch.float64)
    states = torch.cat([eye, -eye])[:, None]  # equal eigenvalues, whose eigenvectors have no gradient
    healthy = RunningLaw.measure(states, bands=1)
    (slope,) = torch.autograd.grad(restore_moments(states.requires_grad_(), healthy, EXACT)[0].sum(), states)
    assert slope.isfinite().all()
