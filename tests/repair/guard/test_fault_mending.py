import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.repair.guard.fault_mending import AT_ONCE, REACH, fault_scores, find_faults, mend_faults


def covariance(seed, channels=5):
    square = torch.randn(channels, channels, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return square @ square.mT + 0.1 * torch.eye(channels, dtype=torch.float64)


@given(st.integers(0, 999))
def test_faults_become_the_conditional_mean(seed):
    """Token by token against mean_F + S_FH S_HH^-1 (u_H - mean_H)."""
    generator = torch.Generator().manual_seed(seed)
    scatter = covariance(seed)
    mean = torch.randn(4, 5, dtype=torch.float64, generator=generator)
    states = torch.randn(3, 4, 5, dtype=torch.float64, generator=generator)
    faulty = torch.rand(3, 4, 5, generator=generator) < 0.4
    broken = torch.where(faulty, torch.tensor([float("nan"), 1e30, float("-inf"), -1e9, 7.0]), states)
    mended = mend_faults(broken, faulty, mean, torch.linalg.inv(scatter))
    for sample in range(3):
        for token in range(4):
            hit, well = faulty[sample, token], ~faulty[sample, token]
            known = states[sample, token, well] - mean[token, well]
            gain = torch.linalg.solve(scatter[well][:, well], known) if well.any() else known
            expected = mean[token, hit] + scatter[hit][:, well] @ gain
            torch.testing.assert_close(mended[sample, token, hit], expected, rtol=1e-8, atol=1e-8)
    assert torch.equal(mended[~faulty], states[~faulty])


def test_healthy_entries_keep_their_bits():
    states = torch.randn(2, 3, 5)
    faulty = torch.zeros(2, 3, 5, dtype=torch.bool)
    faulty[0, 1, 2] = True
    mended = mend_faults(states, faulty, torch.zeros(1, 5), torch.linalg.inv(covariance(0)).float())
    assert torch.equal(mended[~faulty], states[~faulty])
    assert mended[0, 1, 2] != states[0, 1, 2]


def test_more_tokens_than_are_solved_at_once():
    states = torch.randn(1, AT_ONCE + 3, 2, dtype=torch.float64)
    faulty = torch.zeros_like(states, dtype=torch.bool)
    faulty[..., 1] = True
    matrix = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    mended = mend_faults(states, faulty, torch.zeros(1, 2).double(), torch.linalg.inv(matrix))
    torch.testing.assert_close(mended[..., 1], 0.5 * states[..., 0])


def test_faults_are_what_is_out_of_reach_or_not_finite():
    states = torch.tensor([[[0.0, REACH * 2 + 1.0, REACH * 2 + 1.1, float("nan"), float("inf"), -REACH * 2]]])
    found = find_faults(states, torch.ones(1, 6), torch.full((6,), 2.0))
    assert found.flatten().tolist() == [False, False, True, True, True, True]


def test_a_fault_is_scored_by_its_way_out():
    states = torch.tensor([[[0.0, 3.0]], [[float("nan"), 0.0]], [[1.0, 1.0]]])
    assert fault_scores(states, torch.ones(1, 2), torch.full((2,), 2.0)).tolist() == [1.0, float("inf"), 0.0]


def test_a_flipped_exponent_bit_is_found(guard, trained, test_set):
    law = guard.laws["0.h"]
    centre = law.law().mean
    states = centre.expand(2, *centre.shape).clone()
    states[1, 2, 3] = states[1, 2, 3].view(torch.int32).bitwise_xor(1 << 30).view(torch.float32)
    found = find_faults(states, centre, law.farthest)
    assert found.nonzero().tolist() == [[1, 2, 3]]


def test_mending_states_in_half_precision_keeps_their_dtype():
    states = torch.full((1, 1, 2), float("inf"), dtype=torch.bfloat16)
    mended = mend_faults(states, ~states.isfinite(), torch.zeros(1, 2), torch.eye(2))
    assert mended.dtype == torch.bfloat16
    assert mended.flatten().tolist() == pytest.approx([0, 0])
