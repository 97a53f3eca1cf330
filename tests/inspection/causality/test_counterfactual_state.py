import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.causality import counterfactual_state

IDS, OTHER = torch.tensor([[0, 1, 2, 4, 3, 1]]), torch.tensor([[0, 1, 2, 0, 3, 1]])


def test_the_state_of_another_letter_says_the_other_letter(copier):
    found = counterfactual_state(copier, IDS, OTHER, block=0, position=5)
    assert_close(found.logits["state"], copier(OTHER))
    assert found.flips.tolist() == [True]
    assert_close(found.carried, torch.ones(1).double())
    assert found.counterfactual["forward"].shape == (1, 1, 5, 1)
    assert found.distance.item() > 1


@pytest.mark.parametrize(("tokens", "flips"), [([3], True), ([2], False), ([0, 5], False)])
def test_only_token_3_makes_another_state(copier, tokens, flips):
    found = counterfactual_state(copier, IDS, torch.zeros_like(IDS), block=0, position=4, tokens=tokens)
    assert found.flips.tolist() == [flips]
    if not flips:
        assert found.distance.item() < 1e-12
        assert found.effect.abs().max() < 1e-12


def test_before_token_3_the_state_knows_nothing(copier):
    found = counterfactual_state(copier, IDS, OTHER, block=0, position=2)
    assert_close(found.carried, torch.zeros(1).double())
    assert not found.flips.any()


def test_another_token_of_the_same_input(copier):
    """Token 3 becomes what token 0 is, a 0: the copier then says 0."""
    found = counterfactual_state(copier, IDS, IDS, block=0, position=5, tokens=[3], sources=[0])
    assert_close(found.logits["state"], copier(OTHER))
    swapped = counterfactual_state(copier, IDS, IDS, block=0, position=5, tokens=[3, 0], sources=[4, 3])
    assert swapped.logits["state"].argmax(1).tolist() == [3]


def test_another_class_of_a_vim(vim, images, donors):
    found = counterfactual_state(vim, images, donors, block=1, position=2, node="h")
    assert_close(found.logits["state"], vim(donors), rtol=1e-8, atol=1e-12)
    assert_close(found.carried, torch.ones(3).double())
    same = counterfactual_state(vim, images, images, block=1, position=2)
    assert same.distance.abs().max() < 1e-12
    assert same.carried.isnan().all()
    part = counterfactual_state(vim, images, donors, block=0, position=1)
    assert set(part.factual) == {"forward", "backward"}
    assert (part.effect.abs().sum(1) > 1e-9).all()


def test_refuses(copier):
    with pytest.raises(ValueError, match="must have one shape"):
        counterfactual_state(copier, IDS, OTHER[:, :5], block=0, position=5)
    with pytest.raises(ValueError, match="sources must name one position for each"):
        counterfactual_state(copier, IDS, OTHER, block=0, position=5, tokens=[3], sources=[0, 1])
