import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mamba_mender.repair.guard.law import Law, Modes
from mamba_mender.repair.guard.matrix_power import matrix_power
from mamba_mender.repair.guard.metrics import hebbian_correlation_strength


@settings(max_examples=8)
@given(st.integers(0, 999), st.floats(0.1, 10))
def test_it_is_zero_for_healthy_correlations_at_any_volume(draw_modes, draw_law, seed, volume):
    law = draw_law(seed)
    loud = Law(law.mean + 3, volume * law.scatter)
    assert hebbian_correlation_strength(loud, law, draw_modes(seed)) == pytest.approx(0, abs=1e-4)


@given(st.integers(0, 999))
def test_it_is_one_where_all_whitened_channels_go_as_one(draw_modes, draw_law, seed):
    law = draw_law(seed)
    root = matrix_power(law.scatter, 0.5)
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    together = Law(law.mean, root @ (signs[:, None] * signs) @ root)
    assert hebbian_correlation_strength(together, law, draw_modes(seed)) == pytest.approx(1, abs=1e-4)


@settings(max_examples=8)
@given(st.integers(0, 999))
def test_it_stays_between(draw_modes, draw_law, seed):
    found = hebbian_correlation_strength(draw_law(seed), draw_law(seed + 1), draw_modes(seed))
    assert 0 < found < 1


def test_bands_count_by_their_width():
    eye, ones = torch.eye(2), torch.ones(2, 2)
    healthy = Law(torch.zeros(4, 2), torch.stack([eye, eye]))
    mixed = Law(torch.zeros(4, 2), torch.stack([ones, eye]))
    assert hebbian_correlation_strength(mixed, healthy, Modes(torch.eye(4), (0, 1, 4))) == pytest.approx(0.25)


def test_one_channel_has_no_correlation():
    one = Law(torch.zeros(1, 1), torch.ones(1, 1, 1))
    assert hebbian_correlation_strength(one, one, Modes(None, (0, 1))) == 0


def test_a_noisy_stream_leaves_the_healthy_correlation(shifted, guard):
    for key, site in shifted.guards().items():
        law = guard.laws[key]
        assert 0.05 < hebbian_correlation_strength(site.memory.law, law.law(), law.modes) < 1


def test_a_channel_that_rounding_left_without_activity_does_not_break_it():
    scatter = torch.eye(3, dtype=torch.float64)
    scatter[1, 1], scatter[2, 2], scatter[1, 2], scatter[2, 1] = 0.0, -1e-18, 1e-17, 1e-17
    healthy = Law(torch.zeros(1, 3), torch.eye(3)[None])
    found = hebbian_correlation_strength(Law(torch.zeros(1, 3), scatter[None]), healthy, Modes(None, (0, 1)))
    assert 0 <= found <= 1
