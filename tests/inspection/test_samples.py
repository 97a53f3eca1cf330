import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.inspection import select_samples


def test_takes_the_surest_and_the_least_sure_of_each_class():
    confidence = torch.tensor([0.1, 0.9, 0.5, 0.7, 0.2, 0.8, 0.3, 0.4])
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    probabilities = torch.stack([confidence, 1 - confidence], 1)
    probabilities[4:] = probabilities[4:].flip(1)
    samples = select_samples(probabilities, labels, 2)
    assert samples.easy.tolist() == [[1, 3], [5, 7]]
    assert samples.hard.tolist() == [[0, 2], [4, 6]]
    assert torch.equal(samples.confidence, confidence)


def test_ties_go_to_the_lower_index():
    samples = select_samples(torch.full((8, 2), 0.5), torch.tensor([0, 1] * 4), 2)
    assert samples.easy.tolist() == samples.hard.tolist() == [[0, 2], [1, 3]]


def test_class_with_too_few_samples_is_named():
    with pytest.raises(
        UserError, match=r"class 1 has 3 samples, but 2 easy and 2 hard.*count \(--count\) of at most 1"
    ):
        select_samples(torch.full((7, 2), 0.5), torch.tensor([0, 0, 0, 0, 1, 1, 1]), 2)


def test_rejects_count_and_shapes():
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        select_samples(torch.full((2, 2), 0.5), torch.tensor([0, 1]), 0)
    with pytest.raises(ValueError, match="labels has samples=3"):
        select_samples(torch.full((2, 2), 0.5), torch.tensor([0, 1, 1]), 1)
