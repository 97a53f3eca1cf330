import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection import binarise, min_max


def test_min_max_reaches_both_ends_in_each_sample():
    values = torch.randn(5, 3, 4)
    scaled = min_max(values).flatten(1)
    assert_close(scaled.amin(1), torch.zeros(5))
    assert_close(scaled.amax(1), torch.ones(5))


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e30])
def test_scale_changes_nothing(scale):
    values = torch.randn(4, 7)
    assert_close(min_max(scale * values), min_max(values))


@pytest.mark.parametrize("level", [0.0, 1e-20, -3.0, 1e20])
def test_rounding_is_not_a_pattern(level):
    values = torch.full((2, 6), level)
    values[0, 3] = torch.nextafter(values[0, 3], torch.tensor(torch.inf))
    if level:
        assert not binarise(values, 0.0).any()
    assert not binarise(values[1:], 0.0).any()


def test_known_values():
    assert binarise(torch.tensor([[0.0, 5.0, 10.0], [0.0, 1.0, 1.1]]), 0.5).tolist() == [
        [False, False, True],
        [False, True, True],
    ]


def test_no_samples_is_no_error():
    assert binarise(torch.zeros(0, 3), 0.5).shape == (0, 3)


def test_min_max_is_differentiable():
    values = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(min_max, (values,))


@pytest.mark.parametrize("threshold", [-0.1, 1.0])
def test_rejects_thresholds_outside(threshold):
    with pytest.raises(ValueError, match=r"threshold must lie in \[0, 1\)"):
        binarise(torch.zeros(1, 2), threshold)


@pytest.mark.parametrize("shape", [(3,), (2, 0)])
def test_rejects_samples_without_values(shape):
    with pytest.raises(ValueError, match="values must be"):
        min_max(torch.zeros(shape))
