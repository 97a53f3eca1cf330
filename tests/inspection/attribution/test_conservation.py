import pytest
import torch

from mamba_mender.inspection.attribution.conservation import conservation


def test_is_exact_where_sums_agree_and_one_where_nothing_does():
    relevance = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])
    found = conservation(relevance, torch.tensor([3.0, -3.0, 0.0]), required=True)
    assert found.error.tolist() == [0.0, 1.0, 0.0]
    assert found.ratio[:2].tolist() == [1.0, -1.0]
    assert not found.holds


def test_counts_biases():
    found = conservation(torch.ones(1, 2), torch.tensor([5.0]), biases=torch.tensor([3.0]), required=True)
    assert found.holds
    assert found.to_dict()["biases"].item() == 3


def test_says_where_it_fails_most():
    found = conservation(torch.tensor([[1.0], [1.0]]), torch.tensor([1.1, 4.0]), required=True)
    with pytest.raises(RuntimeError, match=r"f: .* in sample 1 tokens have 1 and .* explain is 4 .* bound 1e-05\); g"):
        found.require("f", "g")
    assert conservation(torch.ones(2, 1), torch.ones(2), required=True).require("f", "g").holds
