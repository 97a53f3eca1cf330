import math

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.data.corruptions.pixels import check_pixels, one_per_image


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 8, 8), r"f: images must be \(batch, 1 or 3 channels, height, width\), got shape \(1, 8, 8\)\."),
        (torch.zeros(1, 2, 8, 8), r"got shape \(1, 2, 8, 8\)\."),
        (
            torch.zeros(1, 1, 8, 8, dtype=torch.uint8),
            "floating-point pixels from 0 to 1, got torch.uint8; divide by 255",
        ),
        (
            torch.tensor([[[[-0.5, 2.0]]]]),
            "pixels must lie between 0 and 1, got -0.5 to 2; corrupt the pixels, and norm",
        ),
        (torch.full((1, 1, 2, 2), math.nan), "pixels must lie between 0 and 1, got nan to nan"),
    ],
)
def test_what_is_not_pixels_is_refused(images, message):
    with pytest.raises(UserError, match=message):
        check_pixels("f", images)


def test_the_edges_of_the_range_and_no_image_at_all_are_pixels():
    check_pixels("f", torch.tensor([[[[0.0, 1.0]]]]))
    check_pixels("f", torch.zeros(0, 3, 8, 8))


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (torch.zeros(3), r"f: degrees must be one number or one for each of 2 images, got shape \(3,\)\."),
        (torch.zeros(2, 1), r"got shape \(2, 1\)"),
        (math.inf, "f: degrees must be finite, got inf"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(number, message):
    with pytest.raises(UserError, match=message):
        one_per_image("f", torch.zeros(2, 1, 4, 4), degrees=number)
