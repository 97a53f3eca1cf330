import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.repair.peers.entropy import marginal_entropy, softmax_entropy


@given(seed=st.integers(0, 999), classes=st.integers(2, 9), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_the_entropy_is_that_of_torch_and_in_its_range(seed, classes, scale):
    logits = scale * torch.randn(5, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    entropies = softmax_entropy(logits)
    torch.testing.assert_close(entropies, torch.distributions.Categorical(logits=logits).entropy())
    assert ((entropies >= 0) & (entropies <= math.log(classes) + 1e-12)).all()


@given(seed=st.integers(0, 999), views=st.integers(1, 6))
def test_the_marginal_entropy_is_that_of_the_mean(seed, views):
    logits = torch.randn(views, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    mean = torch.distributions.Categorical(probs=logits.softmax(1).mean(0))
    torch.testing.assert_close(marginal_entropy(logits), mean.entropy())
    assert marginal_entropy(logits) >= softmax_entropy(logits).mean() - 1e-12  # mixing never makes surer


def test_sure_is_zero_and_even_is_the_logarithm():
    assert softmax_entropy(torch.tensor([[500.0, 0.0, 0.0]])).item() == 0
    assert softmax_entropy(torch.zeros(1, 3)).item() == pytest.approx(math.log(3))
    assert marginal_entropy(torch.tensor([[500.0, 0.0], [500.0, 0.0]])).item() == 0
