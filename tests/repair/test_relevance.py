from typing import get_args

import pytest
import torch
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.inspection import external_correlation
from mamba_mender.repair.relevance import Measure, token_relevance

STATE = torch.tensor([[[1.0, 2.0], [3.0, -4.0]]])
GRADIENT = torch.tensor([[[1.0, 0.0], [3.0, -2.0]]])


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("share", [1.0, 17.0]),
        ("channel-share", [1.0, 17.0]),
        ("gradient-share", [1.0, 13.0]),
        ("paper", [0.0, 5.0]),  # mean gradient (2, -1)
        ("authors", [1.0, 3.0]),  # mean of the rectified gradient (2, 0)
        ("squared-gradient", [7.5, 97.5]),  # mean square of the state 7.5
    ],
)
def test_known_values(measure, expected):
    assert_close(token_relevance(STATE, GRADIENT, measure), torch.tensor([expected]))


@pytest.mark.parametrize("measure", [measure for measure in get_args(Measure) if measure != "path"])
def test_never_negative_and_a_sample_at_a_time(measure):
    state, gradient = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    together = token_relevance(state, gradient, measure)
    alone = torch.cat([token_relevance(state[i : i + 1], gradient[i : i + 1], measure) for i in range(3)])
    assert (together >= 0).all()
    assert_close(together, alone)


def test_paper_and_authors_agree_with_the_diagnosis():
    state, gradient = torch.randn(2, 6, 5), torch.randn(2, 6, 5)
    paper = external_correlation(state, gradient, (2, 3), sign="signed").flatten(1).abs()
    authors = external_correlation(state, gradient, (2, 3), sign="authors").flatten(1)
    assert_close(token_relevance(state, gradient, "paper"), paper)
    assert_close(token_relevance(state, gradient, "authors"), authors)


def test_unknown_measure_offers_the_nearest():
    with pytest.raises(ValueError, match=r"unknown measure 'shares'; the nearest are \['share'"):
        token_relevance(STATE, GRADIENT, "shares")  # pyright: ignore


def test_the_path_is_not_measured_on_a_state():
    with pytest.raises(UserError, match="measured on images"):
        token_relevance(torch.ones(1, 2, 3), torch.ones(1, 2, 3), "path")
