"""Pushes in the direction that hurts most."""

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.repair.guard_training.worst_push import worst_push


def push(loss, start, *, seed=0, **settings):
    defaults = {"radius": 0.1, "steps": 2, "length": 1.0}
    return worst_push(loss, start, generator=torch.Generator().manual_seed(seed), **defaults | settings)


def test_a_linear_loss_is_pushed_to_its_corner():
    slope = torch.tensor([1.0, -2.0, 0.5])
    assert_close(push(lambda v: (v * slope).sum(), torch.zeros(4, 3)), 0.1 * slope.sign().expand(4, 3))


@pytest.mark.parametrize("steps", [1, 3])
def test_it_stays_in_the_box_and_in_bounds(steps):
    start = torch.rand(200)
    pushed = push(lambda v: v.square().sum(), start, steps=steps, length=5.0, bounds=(0.0, 1.0))
    assert (pushed - start).abs().max() <= 0.1 + 1e-6
    assert pushed.min() >= 0
    assert pushed.max() <= 1
    assert (pushed == 1).any()


def test_the_start_is_random_within_the_box():
    start = torch.zeros(1000)
    pushed = push(lambda v: (0 * v).sum(), start)
    assert pushed.abs().max() <= 0.1
    assert pushed.abs().mean() == pytest.approx(0.05, rel=0.1)
    assert torch.equal(pushed, push(lambda v: (0 * v).sum(), start))
    assert not torch.equal(pushed, push(lambda v: (0 * v).sum(), start, seed=1))


def test_a_step_is_so_long():
    pushed, still = (push(lambda v, a=a: (a * v).sum(), torch.zeros(50), steps=1, length=0.1) for a in (1, 0))
    assert_close(pushed, (still + 0.01).clamp(max=0.1))


def test_a_radius_by_channel_holds_by_channel():
    radius = torch.tensor([0.1, 1.0])
    assert_close(push(lambda v: v.sum(), torch.zeros(5, 2), radius=radius), radius.expand(5, 2))


def test_more_steps_find_more_of_a_loss_that_bends():
    def loss(values):
        return (values[0] - 0.05).square() - 3 * (values[1] - values[0]).square() + values[1]

    start = torch.zeros(2)
    one = push(loss, start, steps=1)
    many = push(loss, start, steps=30, length=0.2)
    assert loss(many) >= loss(one) - 1e-6


def test_nothing_of_it_carries_a_gradient_and_none_is_left_behind():
    weight = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        pushed = push(lambda v: (weight * v).sum(), torch.zeros(3))
    assert not pushed.requires_grad
    assert weight.grad is None
    assert_close(pushed, torch.full((3,), 0.1))
