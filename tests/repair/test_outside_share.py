import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mamba_mender.repair import outside_share

INSIDE = torch.tensor([[1.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    ("relevance", "share"), [([2.0, 1.0, 0.0], 0.0), ([0.0, 0.0, 3.0], 1.0), ([1.0, 2.0, 1.0], 0.25), ([0.0] * 3, 0.0)]
)
def test_known_shares(relevance, share):
    assert_close(outside_share(torch.tensor([relevance]), INSIDE), torch.tensor([share]))


@given(exponent=st.integers(-30, 30), seed=st.integers(0, 99))
def test_scale_changes_nothing(exponent, seed):
    generator = torch.Generator().manual_seed(seed)
    relevance, inside = torch.rand(4, 9, generator=generator), torch.rand(4, 9, generator=generator)
    assert_close(outside_share(relevance * 2.0**exponent, inside), outside_share(relevance, inside))


def test_gradient_is_finite_without_any_relevance():
    relevance = torch.zeros(2, 3, requires_grad=True)
    outside_share(relevance, INSIDE.expand(2, 3)).sum().backward()
    assert torch.equal(relevance.grad, torch.zeros(2, 3))


def test_rejects_disagreeing_items():
    with pytest.raises(ValueError, match="items=2"):
        outside_share(torch.ones(1, 3), torch.ones(1, 2))
