import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mamba_mender.stress.faults import detection_auc

HIT = [False, True, False, True]


def test_is_one_where_scores_tell_and_nought_where_they_tell_the_opposite():
    assert detection_auc([0.0, 2.0, 1.0, 3.0], HIT) == 1.0
    assert detection_auc([3.0, 0.0, 2.0, 1.0], HIT) == 0.0


def test_is_one_half_where_scores_say_nothing():
    assert detection_auc([7.0] * 4, HIT) == 0.5
    assert detection_auc([1.0, 1.0, 0.0, 0.0], HIT) == 0.5


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_is_what_every_pair_says(pairs):
    scores, hit = np.array([s for s, _ in pairs], float), np.array([h for _, h in pairs])
    if hit.all() or not hit.any():
        return
    differences = scores[hit][:, None] - scores[~hit]
    by_pairs = ((differences > 0) + 0.5 * (differences == 0)).mean()
    assert detection_auc(scores, hit) == pytest.approx(by_pairs, abs=1e-12)
    assert detection_auc(scores, hit) == pytest.approx(roc_auc_score(hit, scores), abs=1e-12)
    assert detection_auc(-scores, hit) == pytest.approx(1 - by_pairs, abs=1e-12)
    assert detection_auc(np.exp(scores), hit) == pytest.approx(by_pairs, abs=1e-12)


def test_takes_tensors_of_any_shape_and_infinity():
    scores = torch.tensor([[0.0, float("inf")], [1.0, 2.0]], dtype=torch.bfloat16, requires_grad=True)
    assert detection_auc(scores, torch.tensor(HIT).reshape(2, 2)) == 1.0


@pytest.mark.parametrize(
    ("scores", "hit", "message"),
    [
        ([1.0], [True, False], r"one shape, got \(1,\) and \(2,\)"),
        ([1.0, float("nan")], [True, False], "1 scores are NaN; give what is certainly hit the score infinity"),
        ([1.0, 2.0], [True, True], "2 of 2 were hit"),
        ([1.0, 2.0], [False, False], "0 of 2 were hit"),
    ],
)
def test_refuses(scores, hit, message):
    with pytest.raises(ValueError, match=message):
        detection_auc(scores, hit)
