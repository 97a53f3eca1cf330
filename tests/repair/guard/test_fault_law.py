"""What tells a fault: entries against the healthy ones, the other channels and the layer before."""

from dataclasses import replace

import pytest
import torch

from mamba_mender.repair.guard.calibrate import watch
from mamba_mender.repair.guard.fault_law import FaultLaw
from mamba_mender.repair.guard.fault_mending import find_faults
from mamba_mender.repair.guard.fault_survey import sent_to, unranged_fault_law, worst_scores
from mamba_mender.repair.guard.layer_link import link_of


@pytest.fixture
def laid():
    """Two layers of which the second follows the first up to a little, and the law of that."""
    torch.manual_seed(0)
    sent = torch.randn(400, 5, 3, dtype=torch.float64)
    mixing, noise = torch.randn(3, 4, dtype=torch.float64), 0.1 * torch.randn(4, 4, dtype=torch.float64)
    states = 2 + sent @ mixing + torch.randn(400, 5, 4, dtype=torch.float64) @ noise
    before, centre = sent.mean((0, 1))[None], states.mean((0, 1))[None]
    link = link_of(sent, states, before=before, centre=centre)
    covariances = [
        (x - m).flatten(0, 1).mT @ (x - m).flatten(0, 1) / 2000 for x, m in ((states, centre), (sent, before))
    ]
    return sent, states, mixing, noise, unranged_fault_law(centre, covariances[0], link, covariances[1])


def test_a_layer_is_expected_from_the_one_before(laid):
    sent, states, mixing, noise, law = laid
    torch.testing.assert_close(law.weights, mixing, rtol=0.05, atol=0.02)
    left = states - law.expected(sent)
    torch.testing.assert_close(left.flatten(0, 1).T.cov(), noise.mT @ noise, rtol=0.3, atol=2e-3)
    assert left.var() < 0.1 * states.var()


def test_the_pull_is_that_of_a_gaussian_given_all_other_entries(laid):
    """(P r)_i / P_ii = r_i - E[r_i | the other entries of r]."""
    sent, states, _, _, law = laid
    left = (states - law.expected(sent))[0, 0]
    covariance = torch.linalg.inv(law.precision)
    pull = law.pull(states, law.expected(sent))[0, 0]
    for i in range(4):
        others = [j for j in range(4) if j != i]
        guess = covariance[i, others] @ torch.linalg.solve(covariance[others][:, others], left[others])
        torch.testing.assert_close(pull[i] / law.precision[i, i], left[i] - guess)


def test_states_need_those_of_the_layer_before(laid):
    with pytest.raises(ValueError, match="layer before"):
        laid[-1].expected(None)


def test_a_score_above_one_is_a_fault(guard, trained, test_set):
    keys = list(guard.faults)
    states = watch(trained, keys, test_set[0])[0]
    scores = worst_scores(guard.faults, keys, states)
    assert scores.max() < 1
    law, key = guard.faults["1.h"], "1.h"
    sent, own = sent_to(key, keys, states), states[key]
    for value, expected in ((float("nan"), float("inf")), (1e9, None)):
        hit = own.clone()
        hit[3, 1, 2] = value
        found = law.scores(hit, sent)
        assert found[3] > 1
        assert expected is None or found[3] == expected
        assert torch.equal(found[:3], law.scores(own, sent)[:3])
    stuck = own.clone()
    stuck[5, :, 7] = stuck[5, 0, 7]
    assert law.scores(stuck, sent)[5] > 1


def test_widened_limits_find_less(laid):
    sent, states, _, _, law = laid
    one = torch.ones(4, dtype=torch.float64)
    law = replace(law, farthest=one, strangest=one, narrowest=one)
    torch.testing.assert_close(law.widened(3.0).scores(states, sent) * 3, law.scores(states, sent))


def test_nothing_is_before_the_first_layer():
    law = unranged_fault_law(torch.zeros(1, 2), torch.eye(2), None, None)
    assert isinstance(law, FaultLaw)
    assert law.weights.shape == (0, 2)
    torch.testing.assert_close(law.precision, torch.eye(2), rtol=2e-3, atol=0)


def test_places_without_a_judgement_by_residuals_still_see_what_is_far(guard, trained, test_set):
    keys, key = list(guard.faults), "1.h"
    states = watch(trained, keys, test_set[0])[0]
    law = guard.faults[key]
    blind = replace(law, strangest=torch.full_like(law.strangest, torch.inf))
    hit = states[key].clone()
    hit[0, 0, 0], hit[1, 1, 1] = float("nan"), 1e9
    assert find_faults(hit, None, blind).nonzero().tolist() == [[0, 0, 0], [1, 1, 1]]
    assert blind.scores(states[key], sent_to(key, keys, states)).isfinite().all()
