import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.data import rotate


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("turns", [-1, 0, 1, 2, 4])
def test_quarter_turns_move_pixels_as_they_are(turns, channels):
    images = torch.rand(2, channels, 9, 9, dtype=torch.float64)
    assert_close(rotate(images, 90 * turns), images.rot90(turns, (2, 3)), rtol=0, atol=1e-9)


def test_half_a_turn_of_any_shape():
    images = torch.rand(2, 1, 7, 10, dtype=torch.float64)
    assert_close(rotate(images, 180), images.flip(2, 3), rtol=0, atol=1e-9)


@given(degrees=st.floats(-360, 360))
def test_corners_outside_are_black_and_the_middle_stays(degrees):
    images = torch.ones(1, 1, 21, 21, dtype=torch.float64)
    out = rotate(images, degrees)
    assert out.min() >= 0
    assert out[0, 0, 10, 10].item() == pytest.approx(1)
    if 20 < degrees % 90 < 70:
        assert out[0, 0, 0, 0] == 0


def test_each_image_may_have_an_angle_of_its_own():
    images = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    out = rotate(images, torch.tensor([0.0, 90.0, 33.0]))
    assert_close(out, torch.cat([rotate(images[i : i + 1], d) for i, d in enumerate((0, 90, 33))]))


def test_gradients_of_images_and_angles():
    images = 0.1 + 0.8 * torch.rand(2, 1, 5, 5, dtype=torch.float64)
    degrees = torch.tensor([10.0, -25.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(rotate, (images.requires_grad_(), degrees.requires_grad_()), atol=1e-4)


def test_bad_input_is_refused():
    with pytest.raises(UserError, match="rotate: images must be"):
        rotate(torch.zeros(8, 8), 10)
    with pytest.raises(UserError, match="rotate: degrees must be one number or one for each of 2 images"):
        rotate(torch.zeros(2, 1, 8, 8), torch.zeros(3))
