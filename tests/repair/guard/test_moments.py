import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mamba_mender.repair.guard import GuardConfig, moments
from mamba_mender.repair.guard.alignment import realign, transport_maps
from mamba_mender.repair.guard.law import Law, law_of
from mamba_mender.repair.guard.moments import (
    convergence_bound,
    convergence_steps,
    in_double,
    moment_error,
    moved_law,
    raw_moments,
)

SEEDS = st.integers(0, 999)
FIXED = GuardConfig(horizon=90, metaplasticity=False)


@settings(max_examples=8)
@given(SEEDS, st.floats(0.1, 1))
def test_the_moved_law_is_that_of_the_moved_states(draw_modes, draw_law, draw_states, seed, strength):
    modes, source, target = draw_modes(seed), draw_law(seed + 1), draw_law(seed + 2)
    maps = transport_maps(source.scatter, target.scatter)
    states = realign(draw_states(seed, source, modes), source, target, maps, modes=modes, strength=strength)
    seen, found = law_of(states, modes), moved_law(source, target, maps, strength)
    torch.testing.assert_close(found.mean, seen.mean)
    torch.testing.assert_close(found.scatter, seen.scatter)


def test_raw_moments_are_about_zero(draw_modes):
    states = torch.randn(9, 5, 3, dtype=torch.float64) + 2
    modes = draw_modes(0)
    expected = [torch.einsum("nmc,nmd->cd", c, c) / (9 * c.shape[1]) for c in modes.split(states)]
    torch.testing.assert_close(raw_moments(law_of(states, modes), modes), torch.stack(expected))


def test_the_error_is_one_at_the_start_and_zero_at_the_goal(draw_modes, draw_law):
    modes, a, b = draw_modes(0), draw_law(1), draw_law(2)
    assert moment_error(a, b, a, modes) == 1
    assert moment_error(b, b, a, modes) == 0
    assert moment_error(a, a, a, modes) == 0


@settings(max_examples=8)
@given(SEEDS, st.floats(0.01, 0.5))
def test_at_a_fixed_rate_the_bound_is_the_number_of_steps(draw_modes, draw_law, seed, tolerance):
    modes, start, goal = draw_modes(seed), draw_law(seed), draw_law(seed + 1)
    steps, errors = convergence_steps(start, goal, 10, modes=modes, config=FIXED, tolerance=tolerance)
    assert steps == convergence_bound(0.1, tolerance)
    assert errors == pytest.approx([0.9**k for k in range(steps + 1)], rel=1e-6)


@settings(max_examples=8)
@given(SEEDS)
def test_metaplasticity_is_no_slower_than_the_bound(draw_modes, draw_law, seed):
    modes, start, goal = draw_modes(seed), draw_law(seed), draw_law(seed + 1)
    far = Law(goal.mean + 20, goal.scatter)
    steps, _ = convergence_steps(
        start, far, 10, modes=modes, config=replace(FIXED, metaplasticity=True), tolerance=0.05
    )
    assert steps < convergence_bound(0.1, 0.05)


def test_behind_thresholds_no_steps_are_counted(draw_modes, draw_law):
    config = replace(FIXED, depression_threshold=0.1)
    start, goal = draw_law(0), draw_law(1)
    found = convergence_steps(start, goal, 10, modes=draw_modes(0), config=config, tolerance=0.05)
    assert found == (None, [])


def test_gains_with_speeds_of_their_own_arrive_too(draw_modes, draw_law):
    config = replace(FIXED, potentiation=0.8, depression=0.4)
    start, goal = draw_law(0), draw_law(1)
    steps, errors = convergence_steps(start, goal, 10, modes=draw_modes(0), config=config, tolerance=0.01)
    assert convergence_bound(0.1, 0.01) < steps < convergence_bound(0.04, 0.01)
    assert errors[-1] <= 0.01


def test_the_bound_of_known_rates():
    assert convergence_bound(0.1, 0.9) == 1
    assert convergence_bound(0.5, 0.25) == 2
    assert convergence_bound(0.5, 0.24) == 3
    assert convergence_bound(1.0, 0.01) == 1
    assert convergence_bound(0.0, 0.01) == math.inf


def test_what_never_arrives_is_refused(draw_modes, draw_law, monkeypatch):
    monkeypatch.setattr(moments, "MOST_STEPS", 20)
    config = replace(FIXED, horizon=1e9)
    with pytest.raises(ValueError, match=r"not within 0\.05 after 20 steps"):
        convergence_steps(
            draw_law(0, tokens=1, channels=1, bands=1),
            draw_law(1, tokens=1, channels=1, bands=1),
            1,
            modes=draw_modes(0, tokens=1, bands=1),
            config=config,
            tolerance=0.05,
        )


def test_in_double_leaves_the_graph_and_is_symmetric():
    law = in_double(Law(torch.ones(1, 2, requires_grad=True), torch.tensor([[[1.0, 0.5], [0.25, 1.0]]])))
    assert law.scatter[0].tolist() == [[1, 0.375], [0.375, 1]]
    assert law.mean.dtype == law.scatter.dtype == torch.float64
    assert not law.mean.requires_grad
