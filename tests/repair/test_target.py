import pytest
import torch
from torch.testing import assert_close

from mamba_mender.repair import constraint_target, outside_share, token_relevance

LOGITS, LABELS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.0, 9.0]]), torch.tensor([0, 2])


def test_mean_log_probability_is_that_of_all_classes():
    assert_close(constraint_target(LOGITS, LABELS, "mean-log-probability"), LOGITS.log_softmax(1).mean(1))


@pytest.mark.parametrize("kind", ["log-probability", "probability"])
def test_share_is_that_of_the_log_odds(kind):
    def share(kind):
        state = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
        target = constraint_target(LOGITS + state.sum(1) + state.square().mean(1), LABELS, kind).sum()
        (gradient,) = torch.autograd.grad(target, state)
        return outside_share(token_relevance(state, gradient), torch.tensor([0.0, 0, 1, 1, 1]).expand(2, 5))

    assert_close(share(kind), share("log-odds"))


def test_unknown_kind_offers_the_nearest():
    with pytest.raises(ValueError, match="the nearest are"):
        constraint_target(LOGITS, LABELS, "log-odd")  # pyright: ignore
