import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mamba_mender.inspection import internal_score


def as_released(binary):
    """What core/state_internal_score.py computes for one class, with its own epsilons: (J, D) to a number."""
    i = binary.double()
    den = i.mean()
    union = (i.sum(0) > 0).double()
    sim = i.mean(0).sum() / (union + 1e-5).sum()
    return sim / (den + 1e-5)


@given(samples=st.integers(1, 12), channels=st.integers(1, 40), share=st.floats(0.05, 1.0), seed=st.integers(0, 10**6))
def test_the_authors_quotient_is_channels_over_channels_ever_active(samples, channels, share, seed):
    binary = torch.rand(samples, channels, generator=torch.Generator().manual_seed(seed)) < share
    used = binary.any(0).sum().item()
    score = internal_score(binary).authors_score
    assert score == pytest.approx(channels / used if used else 0)
    assert as_released(binary).item() == pytest.approx(score.item(), rel=0.02)  # up to their absolute 1e-5


def test_the_authors_quotient_does_not_see_agreement():
    same = torch.zeros(4, 8, dtype=torch.bool)
    same[:, :4] = True
    apart = torch.eye(4, 8).bool()
    assert internal_score(same).authors_score == internal_score(apart).authors_score == 2
    assert internal_score(same).homogeneity == 1
    assert internal_score(apart).homogeneity == 0.25


@pytest.mark.parametrize(
    ("binary", "simplicity", "homogeneity"),
    [
        (torch.ones(3, 4, dtype=torch.bool), 0.0, 1.0),
        (torch.zeros(3, 4, dtype=torch.bool), 1.0, 0.0),
        (torch.eye(4).bool(), 0.75, 0.25),
        (torch.tensor([[True, True, False, False], [True, False, False, False]]), 0.625, 0.75),
    ],
)
def test_known_scores(binary, simplicity, homogeneity):
    score = internal_score(binary)
    assert_close(score.simplicity, torch.tensor(simplicity))
    assert_close(score.homogeneity, torch.tensor(homogeneity))
    assert_close(score.score, torch.tensor(simplicity * homogeneity))


def test_classes_do_not_see_each_other():
    binary = torch.rand(3, 5, 7) < 0.3
    together = internal_score(binary)
    for number in range(3):
        alone = internal_score(binary[number])
        assert_close(together.simplicity[number], alone.simplicity)
        assert_close(together.homogeneity[number], alone.homogeneity)
        assert_close(together.authors_score[number], alone.authors_score)


def test_to_dict_is_lists():
    told = internal_score(torch.ones(2, 3, 4, dtype=torch.bool)).to_dict()
    assert told["homogeneity"] == [1.0, 1.0]
    assert told["score"] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("binary", "message"),
    [
        (torch.ones(2, 3), "binary must be boolean, got torch.float32; use binarise"),
        (torch.ones(3, dtype=torch.bool), r"binary must be \(\.\.\., samples, channels\)"),
        (torch.ones(0, 3, dtype=torch.bool), "each at least 1"),
    ],
)
def test_rejects(binary, message):
    with pytest.raises(ValueError, match=message):
        internal_score(binary)
