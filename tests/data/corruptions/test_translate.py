import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.data import translate


@given(down=st.integers(-12, 12), right=st.integers(-8, 8))
def test_whole_pixels_move_as_they_are(down, right):
    images = torch.rand(2, 3, 10, 6, dtype=torch.float64)
    expected = torch.zeros_like(images)
    for row in range(10):
        for column in range(6):
            if 0 <= row - down < 10 and 0 <= column - right < 6:
                expected[:, :, row, column] = images[:, :, row - down, column - right]
    assert_close(translate(images, down / 10, right / 6), expected, rtol=0, atol=1e-9)


def test_half_a_pixel_averages_neighbours():
    images = torch.tensor([[[[0.0, 1.0, 0.0, 0.5]]]], dtype=torch.float64)
    expected = torch.tensor([[[[0.0, 0.5, 0.5, 0.25]]]], dtype=torch.float64)
    assert_close(translate(images, 0, 0.125), expected, rtol=0, atol=1e-9)


def test_each_image_may_have_a_shift_of_its_own():
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    out = translate(images, torch.tensor([0.0, 0.25]), torch.tensor([0.3, 0.0]))
    assert_close(out, torch.cat([translate(images[:1], 0, 0.3), translate(images[1:], 0.25, 0)]), rtol=0, atol=1e-6)


def test_gradients_of_images_and_shifts():
    images = 0.1 + 0.8 * torch.rand(1, 1, 5, 5, dtype=torch.float64)
    shifts = torch.tensor([[0.07], [-0.13]], dtype=torch.float64)
    arguments = (images.requires_grad_(), *shifts.requires_grad_())
    assert torch.autograd.gradcheck(translate, arguments, atol=1e-4)


def test_bad_input_is_refused():
    with pytest.raises(UserError, match="translate: images must be"):
        translate(torch.zeros(8, 8), 0, 0)
    with pytest.raises(UserError, match="translate: rows must be one number or one for each of 2 images"):
        translate(torch.zeros(2, 1, 8, 8), torch.zeros(3), 0)
    with pytest.raises(UserError, match="translate: columns must be finite"):
        translate(torch.zeros(2, 1, 8, 8), 0, float("inf"))
