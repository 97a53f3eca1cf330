import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.repair.guard.calibrate import watch
from mamba_mender.repair.guard.fault_law import REACH, FaultLaw
from mamba_mender.repair.guard.fault_mending import AT_ONCE, ROUNDS, find_faults, mend_faults
from mamba_mender.repair.guard.fault_survey import sent_to


def covariance(seed, channels=5):
    square = torch.randn(channels, channels, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return square @ square.mT + 0.1 * torch.eye(channels, dtype=torch.float64)


def law_by_itself(channels, *, centre=0.0, farthest=2.0, precision=None, strangest=1e6, narrowest=0.0):
    """A place that nothing is before."""
    full = [torch.full((channels,), value).double() for value in (farthest, strangest, narrowest)]
    precision = torch.eye(channels).double() if precision is None else precision
    centres = torch.full((1, channels), centre).double()
    empty = torch.zeros(1, 0).double(), torch.zeros(0, channels).double()
    return FaultLaw(centres, full[0], *empty, precision, *full[1:])


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
    edge = REACH * 2
    states = torch.tensor([[[0.0, edge + 1, edge + 1.1, float("nan"), float("inf"), -edge]]]).double()
    found = find_faults(states, None, law_by_itself(6, centre=1.0))
    assert found.flatten().tolist() == [False, False, True, True, True, True]


def test_a_channel_that_does_not_move_is_stuck():
    states = torch.randn(3, 20, 4).double()
    states[1, :, 2] = 0.3  # a healthy value
    found = find_faults(states, None, law_by_itself(4, farthest=9.0, narrowest=1.0))
    assert found.any(1).nonzero().tolist() == [[1, 2]]
    assert found[1, :, 2].all()


@pytest.mark.parametrize("hits", [1, 3])
def test_strange_entries_are_found_among_those_they_pull_at(hits):
    """Healthy values at channels that go together otherwise: the culprits are found, and not their neighbours."""
    torch.manual_seed(0)
    scatter = torch.full((8, 8), 0.98).double() + 0.02 * torch.eye(8)
    states = torch.randn(50, 6, 1).double() + 0.14 * torch.randn(50, 6, 8).double()
    law = law_by_itself(8, farthest=9.0, precision=torch.linalg.inv(scatter), strangest=2.5)
    assert find_faults(states, None, law) is None
    states[7, 2, :hits] += 2.5
    assert find_faults(states, None, law).nonzero().tolist() == [[7, 2, channel] for channel in range(hits)]
    assert hits < ROUNDS


def test_no_samples_have_no_faults():
    law = law_by_itself(4, strangest=2.0)
    assert find_faults(torch.zeros(0, 3, 4).double(), None, law) is None


def test_a_token_that_is_shifted_as_a_whole_is_not_faulty():
    scatter = torch.full((12, 12), 0.9).double() + 0.1 * torch.eye(12)
    states = torch.zeros(2, 3, 12).double()
    states[0, 1] = 3 * (-1.0) ** torch.arange(12)
    states[1, 1, :2] = torch.tensor([3.0, -3.0])
    law = law_by_itself(12, farthest=9.0, precision=torch.linalg.inv(scatter), strangest=2.0)
    assert find_faults(states, None, law).nonzero().tolist() == [[1, 1, 0], [1, 1, 1]]


def test_what_is_far_does_not_hide_what_is_strange():
    scatter = torch.full((4, 4), 0.98).double() + 0.02 * torch.eye(4)
    states = torch.zeros(1, 2, 4).double()
    states[0, 0] = torch.tensor([1e30, 3.0, 0.0, 0.0])
    law = law_by_itself(4, farthest=9.0, precision=torch.linalg.inv(scatter), strangest=2.0)
    assert find_faults(states, None, law).nonzero().tolist() == [[0, 0, 0], [0, 0, 1]]


def test_a_flipped_sign_is_found_by_the_layer_before(guard, trained, test_set):
    """A flipped sign leaves a value that is healthy by itself."""
    keys, key = list(guard.faults), "1.h"
    states = watch(trained, keys, test_set[0])[0]
    law, sent = guard.faults[key], sent_to(key, keys, states)
    own = states[key].clone()
    assert find_faults(own, sent, law) is None
    place = (own.abs().amax((1, 2)) == own.abs().amax()).nonzero()[0, 0]
    token, channel = divmod(int(own[place].abs().argmax()), own.shape[-1])
    own[place, token, channel] *= -1
    assert [int(place), token, channel] in find_faults(own, sent, law).nonzero().tolist()


def test_mending_states_in_half_precision_keeps_their_dtype():
    states = torch.full((1, 1, 2), float("inf"), dtype=torch.bfloat16)
    mended = mend_faults(states, ~states.isfinite(), torch.zeros(1, 2), torch.eye(2))
    assert mended.dtype == torch.bfloat16
    assert mended.flatten().tolist() == pytest.approx([0, 0])
