import pytest
import torch

from mamba_mender.inspection.attribution import masks_on_tokens
from mamba_mender.inspection.attribution.tokens import own_tokens, rank_tokens


def test_ranks_by_relevance_and_puts_what_is_not_allowed_last():
    relevance = torch.tensor([[3.0, -1.0, 7.0, 2.0], [-torch.inf, 9.0, 1.0, 0.0]])
    allowed = torch.tensor([[True, True, True, True], [True, False, True, False]])
    ranks = rank_tokens(relevance, allowed)
    assert ranks[0].tolist() == [1, 3, 0, 2]
    assert ranks[1, [2, 0]].tolist() == [0, 1]
    assert sorted(ranks[1, [1, 3]].tolist()) == [2, 3]


def test_ties_are_broken_at_random():
    allowed = torch.ones(400, 4, dtype=torch.bool)
    ranks = rank_tokens(torch.zeros(400, 4), allowed)
    assert (ranks.sort(1).values == torch.arange(4)).all()
    assert ((ranks.double().mean(0) - 1.5).abs() < 0.3).all()
    assert torch.equal(ranks, rank_tokens(torch.zeros(400, 4), allowed))


def test_refuses_nan_and_samples_without_tokens(make_vim):
    with pytest.raises(ValueError, match="a relevance is NaN"):
        rank_tokens(torch.tensor([[torch.nan, 1.0]]), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="no token to replace"):
        own_tokens(torch.nn.Identity(), torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool))
    assert own_tokens(make_vim(), torch.zeros(1, 17), None)[0].logical_not().nonzero().tolist() == [[8]]


def test_masks_on_tokens_leave_a_place_for_the_class_token(make_vim):
    masks = torch.zeros(1, 1, 8, 8)
    masks[..., :2, :3] = 1
    shares = masks_on_tokens(make_vim(), masks)
    assert shares.shape == (1, 17)
    assert shares[0, :3].tolist() == [1.0, 0.5, 0.0]
    assert shares[0, 8] == 0
    masks = torch.zeros(1, 1, 8, 8)
    masks[..., 4:6, 0:2] = 1
    assert masks_on_tokens(make_vim(), masks)[0].nonzero().tolist() == [[9]]
    with pytest.raises(ValueError, match="Identity has no grid"):
        masks_on_tokens(torch.nn.Identity(), masks)
