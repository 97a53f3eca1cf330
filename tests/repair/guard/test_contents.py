import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.repair.guard.contents import Contents, fit_composition


def contents(seed, classes=4, tokens=9, channels=3):
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(classes, tokens, channels, generator=generator)
    empty = torch.randn(tokens, channels, generator=generator)
    return Contents(means, torch.full((classes,), 1 / classes), empty, 0.5 + torch.rand(channels, generator=generator))


@given(st.integers(0, 999), st.floats(0.2, 3), st.floats(-5, 5))
def test_a_planted_mixture_is_found_whatever_scale_and_offset(seed, scale, offset):
    healthy = contents(seed)
    shares = torch.rand(4, generator=torch.Generator().manual_seed(seed)) ** 6
    shares /= shares.sum()
    shown = torch.einsum("k,ktc->tc", shares, healthy.means) - healthy.empty
    mean = healthy.empty + scale * shown + offset * torch.tensor([1.0, -1.0, 2.0])
    found = fit_composition(mean, healthy)
    assert found.contrast == pytest.approx(scale, rel=1e-3)
    if found.explained > 0.5:
        torch.testing.assert_close(found.shares, shares, rtol=1e-3, atol=1e-3)
    assert found.shares.sum().item() == pytest.approx(1, abs=1e-5)


def test_one_class_is_told():
    healthy = contents(3)
    found = fit_composition(healthy.means[2], healthy)
    assert found.explained > 0.99
    torch.testing.assert_close(found.shares, torch.tensor([0.0, 0.0, 1.0, 0.0]), rtol=0, atol=1e-4)


def test_the_healthy_mix_is_left_as_it_is():
    healthy = contents(0)
    found = fit_composition(healthy.means.mean(0), healthy)
    torch.testing.assert_close(found.shares, healthy.mix, rtol=0, atol=1e-4)
    assert found.contrast == pytest.approx(1, abs=1e-4)


def test_a_change_that_no_classes_explain_is_not_believed():
    """What a blur does: the healthy picture itself moves, away from all classes."""
    healthy = contents(1, tokens=60)
    moved = torch.randn(60, 3, generator=torch.Generator().manual_seed(7))
    found = fit_composition(healthy.means.mean(0) + moved, healthy)
    assert found.explained < 0.3
    assert torch.equal(found.shares, healthy.mix)


def test_between_doubt_and_trust_shares_are_blended():
    healthy = contents(1, tokens=60)
    moved = torch.randn(60, 3, generator=torch.Generator().manual_seed(7))
    found = fit_composition(healthy.means[0] + 1.4 * moved, healthy)
    believed = (found.explained - 0.3) / 0.2
    assert 0 < believed < 1
    expected = (1 - believed) * healthy.mix + believed * torch.tensor([1.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(found.shares, expected, rtol=1e-4, atol=1e-4)


def test_an_empty_stream_shows_the_healthy_mix():
    healthy = contents(0)
    found = fit_composition(healthy.empty + 3, healthy)
    assert torch.equal(found.shares, healthy.mix)
