import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.repair.guard.matrix_power import matrix_power
from mamba_mender.repair.guard.projection import project_box, project_ellipsoid, wiener_shrink

SEEDS = st.integers(0, 999)


@pytest.fixture(scope="module")
def draw():
    """A covariance, its inverse root, a mean, and two states of nine tokens."""

    def make(seed):
        generator = torch.Generator().manual_seed(seed)
        square = torch.randn(3, 3, dtype=torch.float64, generator=generator)
        matrix = square @ square.mT + 0.1 * torch.eye(3, dtype=torch.float64)
        states = 4 * torch.randn(2, 9, 3, dtype=torch.float64, generator=generator)
        return matrix, matrix_power(matrix, -0.5), torch.randn(9, 3, dtype=torch.float64, generator=generator), states

    return make


@given(SEEDS)
def test_the_ellipsoid_is_projected_on_and_never_left(draw, seed):
    _, white, mean, states = draw(seed)
    moved = project_ellipsoid(states, mean, white, torch.tensor(1.5))
    assert ((moved - mean) @ white).norm(dim=-1).max() <= 1.5 + 1e-12
    inside = ((states - mean) @ white).norm(dim=-1) <= 1.5
    assert torch.equal(moved[inside], states[inside])  # T1: identity on healthy states
    torch.testing.assert_close(project_ellipsoid(moved, mean, white, torch.tensor(1.5)), moved)


@given(SEEDS)
def test_projections_stretch_nothing_in_their_norm(draw, seed):
    matrix, white, mean, states = draw(seed)
    vectors = torch.linalg.eigh(matrix).eigenvectors
    ellipsoid = project_ellipsoid(states, mean, white, torch.tensor(1.5))
    box = project_box(states, mean, vectors, torch.ones(3, dtype=torch.float64))
    apart = states[0] - states[1]
    for moved, norms in ((ellipsoid, [white]), (box, [white, torch.eye(3, dtype=torch.float64)])):
        for norm in norms:
            after, before = ((moved[0] - moved[1]) @ norm).norm(dim=-1), (apart @ norm).norm(dim=-1)
            assert (after <= before + 1e-12).all()


@given(SEEDS, st.floats(0.1, 0.9))
def test_a_partial_step_leaves_one_minus_g_of_the_way(draw, seed, strength):
    _, white, mean, states = draw(seed)

    def away(u):
        return ((u - project_ellipsoid(u, mean, white, torch.tensor(1.5))) @ white).norm(dim=-1)

    moved = states + strength * (project_ellipsoid(states, mean, white, torch.tensor(1.5)) - states)
    torch.testing.assert_close(away(moved), (1 - strength) * away(states), rtol=1e-9, atol=1e-9)


def test_the_box_clips_in_the_principal_directions():
    turn = torch.tensor([[3.0, 4.0], [-4.0, 3.0]]).mT / 5
    states = torch.tensor([[[3.0, 4.0]]]) * 2
    torch.testing.assert_close(project_box(states, torch.zeros(1, 2), turn, torch.ones(2)), states / 10)


@given(SEEDS)
def test_the_wiener_shrink_is_the_posterior_mean(draw, seed):
    """With noise as large as the state itself half is left, and it shrinks every difference."""
    matrix, _, mean, states = draw(seed)
    torch.testing.assert_close(wiener_shrink(states, mean, matrix, matrix), (states + mean) / 2)
    assert torch.equal(wiener_shrink(mean[None], mean, matrix, matrix), mean[None])
    torch.testing.assert_close(wiener_shrink(states, mean, matrix, -matrix), states)  # no noise is left out
