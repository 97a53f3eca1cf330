"""Entropy and strength, against the whole matrix and at their two ends."""

import math
from dataclasses import replace

import pytest
import torch

from mamba_mender.inspection.attention import attention_spread, hidden_attention


def expected_spread(values, visible):
    """Compute entropy and strength of (..., length, length) by a loop over rows."""
    strength = values.abs().sum(-1)
    entropy = torch.zeros_like(strength)
    for i, seen in enumerate(visible):
        p = values[..., i, :].abs() / strength[..., i, None]
        if seen > 1:
            entropy[..., i] = -torch.where(p > 0, p * p.log(), 0).sum(-1) / math.log(seen)
    return entropy, strength


@pytest.mark.parametrize("of", ["scan", "block"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("channels", [None, (0, 4)])
def test_spread_is_that_of_the_matrix(make_record, of, reverse, channels):
    scan = make_record(reverse=reverse, groups=2)
    values = hidden_attention(scan, of=of, channels=channels).values
    visible = range(9, 0, -1) if reverse else range(1, 10)
    entropy, strength = expected_spread(values, visible)
    for positions in (None, range(9), [3, -1]):
        chosen = slice(None) if positions is None else list(positions)
        found = attention_spread(scan, positions, of=of, channels=channels)
        torch.testing.assert_close(found.entropy, entropy[..., chosen])
        torch.testing.assert_close(found.strength, strength[..., chosen])
    assert found.queries == (3, 8)


def test_both_directions_see_every_position(make_record):
    scans = [make_record(length=5), make_record(length=5, reverse=True, seed=2)]
    entropy, strength = expected_spread(hidden_attention(scans).values, [5] * 5)
    found = attention_spread(scans)
    torch.testing.assert_close(found.entropy, entropy)
    torch.testing.assert_close(found.strength, strength)


def test_copying_one_token_has_entropy_zero(planted_copy):
    found = attention_spread(planted_copy)
    torch.testing.assert_close(found.entropy[0, 3:], torch.zeros(5).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.strength[0, 3:], torch.ones(5).double(), atol=1e-6, rtol=0)


def test_equal_attention_to_all_has_entropy_one(planted_copy):
    """A scan that never forgets and writes every token alike."""
    uniform = replace(planted_copy, A=torch.zeros(3, 2).double(), delta=torch.ones(1, 3, 8).double())
    found = attention_spread(uniform)
    torch.testing.assert_close(found.entropy[0, 1:], torch.ones(7).double())
    assert found.entropy[0, 0] == 0  # there is only one token to see
    torch.testing.assert_close(found.strength[0], torch.arange(1.0, 9).double())


def test_signs_do_not_count(planted_copy):
    """Attention of 1, -1, 1, ... is as strong and as spread out as attention of 1."""
    signs = torch.tensor([1.0, -1] * 4).double()
    uniform = replace(planted_copy, A=torch.zeros(3, 2).double(), delta=torch.ones(1, 3, 8).double())
    signed = replace(uniform, B=uniform.B * signs)
    found, expected = attention_spread(signed), attention_spread(uniform)
    torch.testing.assert_close(found.entropy, expected.entropy)
    torch.testing.assert_close(found.strength, expected.strength)


def test_no_attention_has_no_entropy(planted_copy):
    found = attention_spread(replace(planted_copy, C=torch.zeros_like(planted_copy.C)))
    assert found.entropy.isnan().all()
    assert not found.strength.any()


def test_padding_is_not_visible(planted_copy):
    uniform = replace(planted_copy, A=torch.zeros(3, 2).double(), delta=torch.ones(1, 3, 8).double())
    padded = replace(uniform, mask=(torch.arange(8) > 2)[None])
    found = attention_spread(padded)
    torch.testing.assert_close(found.entropy[0, 4:], torch.ones(4).double())
    assert found.entropy[0, 3] == 0
    assert found.entropy[0, :3].isnan().all()
    torch.testing.assert_close(found.strength[0], torch.tensor([0.0, 0, 0, 1, 2, 3, 4, 5]).double())
