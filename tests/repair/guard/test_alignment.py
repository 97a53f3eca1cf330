import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mamba_mender.repair.guard.alignment import (
    operator_norm,
    realign,
    regular,
    scale_maps,
    transport_maps,
    whitening_maps,
)
from mamba_mender.repair.guard.law import Law, law_of, wasserstein
from mamba_mender.repair.guard.matrix_power import matrix_power

SEEDS = st.integers(0, 999)
MAKERS = {"transport": transport_maps, "whiten": whitening_maps}


@given(SEEDS)
def test_transport_maps_carry_one_law_to_the_other(draw_law, seed):
    a, b = draw_law(seed).scatter, draw_law(seed + 1).scatter
    maps = transport_maps(a, b)
    torch.testing.assert_close(maps @ a @ maps, b, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(maps, maps.mT, rtol=1e-12, atol=1e-12)
    assert torch.linalg.eigvalsh(maps).min() > 0  # the one symmetric positive solution: the optimal one


@given(SEEDS)
def test_transport_maps_are_those_of_the_other_formula(draw_law, seed):
    """T = A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2."""
    a, b = draw_law(seed).scatter, draw_law(seed + 1).scatter
    root, inverse = matrix_power(a, 0.5), matrix_power(a, -0.5)
    expected = inverse @ matrix_power(root @ b @ root, 0.5) @ inverse
    torch.testing.assert_close(transport_maps(a, b), expected, rtol=1e-10, atol=1e-10)


@given(SEEDS)
def test_whitening_maps_carry_one_law_to_the_other(draw_law, seed):
    a, b = draw_law(seed).scatter, draw_law(seed + 1).scatter
    maps = whitening_maps(a, b)
    torch.testing.assert_close(maps.mT @ a @ maps, b, rtol=1e-11, atol=1e-11)


def test_scale_maps_set_the_variances_alone(draw_law):
    a, b = draw_law(0).scatter, draw_law(1).scatter
    maps = scale_maps(a, b)
    assert (maps - torch.diag_embed(maps.diagonal(dim1=-2, dim2=-1))).abs().max() == 0
    moved = (maps @ a @ maps).diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(moved, b.diagonal(dim1=-2, dim2=-1))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_maps_by_products_are_those_by_eigenvalues_and_have_a_gradient(make, draw_law):
    a, b = draw_law(0, bands=1).scatter, draw_law(1, bands=1).scatter
    torch.testing.assert_close(make(a, b, differentiable=True), make(a, b), rtol=1e-8, atol=1e-8)
    free = torch.randn(1, 3, 3, dtype=torch.float64, requires_grad=True)
    eye = torch.eye(3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: make(x @ x.mT + eye, b, differentiable=True), free)


@given(SEEDS, st.sampled_from(sorted(MAKERS)))
def test_realigned_states_have_the_target_moments(draw_modes, draw_law, draw_states, seed, name):
    """A planted shift of known moments is undone to float64 precision."""
    modes, source, target = draw_modes(seed), draw_law(seed + 1), draw_law(seed + 2)
    states = draw_states(seed, source, modes)
    maps = MAKERS[name](source.scatter, target.scatter)
    healed = law_of(realign(states, source, target, maps, modes=modes), modes)
    torch.testing.assert_close(healed.mean, target.mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(healed.scatter, target.scatter, rtol=1e-10, atol=1e-10)


@given(SEEDS, st.floats(0.05, 0.95))
def test_a_partial_step_leaves_one_minus_g_of_the_distance(draw_modes, draw_law, draw_states, seed, strength):
    modes, source, target = draw_modes(seed), draw_law(seed + 1), draw_law(seed + 2)
    states = draw_states(seed, source, modes)
    maps = transport_maps(source.scatter, target.scatter)
    moved = law_of(realign(states, source, target, maps, modes=modes, strength=strength), modes)
    before, after = (wasserstein(law, target, modes, 5).item() for law in (source, moved))
    assert after / before == pytest.approx(1 - strength, abs=1e-8)


def test_a_partial_whitening_step_keeps_no_such_promise(draw_modes, draw_law, draw_states):
    modes, source, target = draw_modes(0), draw_law(1), draw_law(2)
    maps = whitening_maps(source.scatter, target.scatter)
    states = draw_states(0, source, modes)
    moved = law_of(realign(states, source, target, maps, modes=modes, strength=0.5), modes)
    ratio = wasserstein(moved, target, modes, 5) / wasserstein(source, target, modes, 5)
    assert abs(ratio.item() - 0.5) > 1e-5


def test_states_of_the_healthy_law_stay(draw_modes, draw_law, draw_states):
    modes, law = draw_modes(0), draw_law(1)
    states = draw_states(2, law, modes)
    maps = transport_maps(law.scatter, law.scatter)
    torch.testing.assert_close(realign(states, law, law, maps, modes=modes), states, rtol=1e-9, atol=1e-9)


@settings(max_examples=8)
@given(SEEDS, st.floats(0.1, 1))
def test_the_operator_norm_bounds_every_stretch_and_is_reached(draw_modes, draw_law, seed, strength):
    modes, source, target = draw_modes(seed), draw_law(seed + 1), draw_law(seed + 2)
    maps = transport_maps(source.scatter, target.scatter)
    bound = operator_norm(maps, strength).item()
    pair = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    moved = realign(pair, source, target, maps, modes=modes, strength=strength)
    assert (moved[0] - moved[1]).norm() <= bound * (pair[0] - pair[1]).norm() + 1e-9
    step = (1 - strength) * torch.eye(3, dtype=torch.float64) + strength * maps
    assert max(torch.linalg.eigvalsh(m).abs().max().item() for m in step) == pytest.approx(bound, rel=1e-9)


def test_a_regular_law_can_be_inverted_and_keeps_its_mean():
    flat = Law(torch.ones(1, 2), torch.diag(torch.tensor([2.0, 0.0]))[None])
    found = regular(flat, 0.1)
    assert found.mean is flat.mean
    torch.testing.assert_close(found.scatter[0].diagonal(), torch.tensor([1.9, 0.1]))
