import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender._check import UserError
from mamba_mender.stress.language import token_dropout

IDS = torch.arange(4000)


@given(st.integers(0, 50), st.integers(0, 9))
def test_rate_nought_loses_nothing_and_rate_one_all(length, seed):
    ids = torch.arange(length)
    assert torch.equal(token_dropout(ids, 0.0, seed=seed), ids)
    assert len(token_dropout(ids, 1.0, seed=seed)) == 0
    assert (token_dropout(ids, 1.0, fill=7, seed=seed) == 7).all()


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_the_rate_is_what_was_asked_for_and_the_order_stays(rate):
    kept = token_dropout(IDS, rate)
    assert (kept.diff() > 0).all()
    assert abs(len(IDS) - len(kept) - rate * len(IDS)) < 4.5 * math.sqrt(rate * (1 - rate) * len(IDS))


def test_filling_loses_the_same_tokens():
    filled = token_dropout(IDS, 0.3, fill=-1, seed=3)
    assert torch.equal(filled[filled >= 0], token_dropout(IDS, 0.3, seed=3))
    assert not torch.equal(filled, token_dropout(IDS, 0.3, fill=-1, seed=4))
    assert token_dropout(IDS.reshape(40, 100), 0.5, fill=-1).shape == (40, 100)


def test_a_higher_rate_loses_the_same_and_more():
    low, high = (set(token_dropout(IDS, rate).tolist()) for rate in (0.1, 0.4))
    assert high < low


def test_the_ids_given_are_not_changed():
    ids = IDS.clone()
    token_dropout(ids, 0.5, fill=-1)
    assert torch.equal(ids, IDS)


@pytest.mark.parametrize(
    ("ids", "rate", "message"),
    [
        (IDS, -0.1, "token_dropout: rate must be a share from 0 to 1"),
        (IDS.float(), 0.1, r"ids must be whole numbers, \(length\), got torch.float32 of shape \(4000,\)"),
        (IDS.reshape(40, 100), 0.1, r"ids must be whole numbers, \(length\), got torch.int64 of shape \(40, 100\)"),
    ],
)
def test_refuses(ids, rate, message):
    with pytest.raises(UserError, match=message):
        token_dropout(ids, rate)
