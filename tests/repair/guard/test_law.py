from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from mamba_mender.repair.guard.law import Law, Modes, band_edges, law_of, wasserstein

SEEDS = st.integers(0, 999)
PLAIN = Modes(None, (0, 1))


def number(mean, deviation):
    return Law(torch.full((1, 1), mean, dtype=torch.float64), torch.full((1, 1, 1), deviation**2, dtype=torch.float64))


@given(SEEDS, st.integers(1, 9), st.integers(1, 5))
def test_split_is_a_rotation_and_join_undoes_it(draw_modes, seed, tokens, bands):
    modes = draw_modes(seed, tokens=tokens, bands=bands)
    states = torch.randn(4, tokens, 3, dtype=torch.float64)
    parts = modes.split(states)
    assert [part.shape[1] for part in parts] == modes.widths(tokens).tolist()
    assert len(parts) == modes.bands
    assert sum(part.square().sum() for part in parts) == pytest.approx(states.square().sum().item(), rel=1e-12)
    torch.testing.assert_close(modes.join(parts), states, rtol=1e-12, atol=1e-12)


def test_without_positions_there_is_one_band_and_nothing_moves():
    states = torch.randn(2, 3, 4)
    assert PLAIN.split(states)[0] is states
    assert PLAIN.join([states]) is states
    assert PLAIN.widths(3).tolist() == [3]


@given(st.integers(1, 300), st.integers(1, 9))
def test_bands_cover_all_modes_and_double(tokens, bands):
    edges = band_edges(tokens, bands)
    widths = [b - a for a, b in pairwise(edges)]
    assert edges[0] == 0
    assert edges[-1] == tokens
    assert all(width >= 1 for width in widths)
    assert len(widths) <= bands
    assert all(wide == 2**n for n, wide in enumerate(widths[1:-1]))


def test_law_of_measures_the_moments_of_each_band(draw_modes, draw_law, draw_states):
    modes, law = draw_modes(0), draw_law(1)
    found = law_of(draw_states(2, law, modes), modes)
    torch.testing.assert_close(found.mean, law.mean)
    torch.testing.assert_close(found.scatter, law.scatter)


def test_one_band_is_the_covariance_of_all_tokens(draw_modes):
    states = torch.randn(30, 5, 3, dtype=torch.float64)
    away = (states - states.mean(0)).flatten(0, 1)
    found = law_of(states, draw_modes(0, bands=1))
    torch.testing.assert_close(found.scatter[0], away.mT @ away / len(away))


def test_without_positions_all_tokens_share_a_mean():
    states = torch.randn(6, 5, 3, dtype=torch.float64)
    found = law_of(states, PLAIN)
    flat = states.flatten(0, 1)
    torch.testing.assert_close(found.mean, flat.mean(0, keepdim=True))
    torch.testing.assert_close(found.scatter[0], torch.cov(flat.mT, correction=0))


def test_scatter_about_another_mean_is_larger_by_the_square_of_the_way():
    states = torch.randn(6, 5, 3, dtype=torch.float64)
    own = law_of(states, PLAIN)
    other = own.mean + torch.tensor([1.0, 2.0, 0.0])
    way = other - own.mean
    torch.testing.assert_close(law_of(states, PLAIN, mean=other).scatter[0], own.scatter[0] + way.mT @ way)


@given(st.floats(-3, 3), st.floats(0.1, 3), st.floats(-3, 3), st.floats(0.1, 3), st.integers(1, 5))
def test_wasserstein_of_numbers(m, s, n, t, tokens):
    found = wasserstein(number(m, s), number(n, t), PLAIN, tokens).item()
    assert found == pytest.approx((tokens * ((m - n) ** 2 + (s - t) ** 2)) ** 0.5, abs=1e-7)


@settings(max_examples=8)
@given(SEEDS)
def test_wasserstein_against_the_whole_covariance(draw_modes, draw_law, seed):
    """The laws as Gaussians over all tokens and channels at once, with scipy's matrix root."""
    modes, a, b = draw_modes(seed), draw_law(seed + 1), draw_law(seed + 2)
    basis = torch.kron(modes.basis.contiguous(), torch.eye(3, dtype=torch.float64)).numpy()
    whole = []
    for law in (a, b):
        blocks = [scatter for scatter, width in zip(law.scatter, modes.widths(5), strict=True) for _ in range(width)]
        whole.append(basis @ torch.block_diag(*blocks).numpy() @ basis.T)
    root = sqrtm(whole[0])
    trace = (whole[0] + whole[1] - 2 * sqrtm(root @ whole[1] @ root)).trace().real
    expected = ((a.mean - b.mean).square().sum().item() + trace) ** 0.5
    assert wasserstein(a, b, modes, 5).item() == pytest.approx(expected, rel=1e-8)


@settings(max_examples=8)
@given(SEEDS)
def test_wasserstein_is_a_distance(draw_modes, draw_law, seed):
    modes, laws = draw_modes(seed), [draw_law(seed + n) for n in (1, 2, 3)]
    a, b, c = laws

    def apart(x, y):
        return wasserstein(x, y, modes, 5).item()

    assert apart(a, b) == pytest.approx(apart(b, a), rel=1e-9)
    assert apart(a, c) <= apart(a, b) + apart(b, c) + 1e-9
    assert apart(a, a) == pytest.approx(0, abs=1e-5)
    assert apart(a, b) > 0.1


def test_blend_mixes_the_moments(draw_law):
    a, b = draw_law(0), draw_law(1)
    mixed = a.blend(b, 0.25)
    torch.testing.assert_close(mixed.mean, 0.75 * a.mean + 0.25 * b.mean)
    torch.testing.assert_close(mixed.scatter, 0.75 * a.scatter + 0.25 * b.scatter)
