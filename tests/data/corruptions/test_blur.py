"""Blurs keep a constant image, spread a point as far as they say, and glass only moves pixels."""

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter

from mamba_mender.data.corruptions import blur

CALLS = {
    "gaussian_blur": {"sigma": 1.3},
    "defocus_blur": {"radius": 2.5, "softness": 0.5},
    "glass_blur": {"sigma": 0.6, "reach": 2, "rounds": 2},
    "motion_blur": {"sigma": 2.0, "reach": 6},
    "zoom_blur": {"largest": 1.2, "step": 0.02},
}


def point(size=41):
    images = torch.zeros(1, 1, size, size, dtype=torch.float64)
    images[0, 0, size // 2, size // 2] = 1
    return images


def spread(image):
    """Centre (row, column) and variance along rows and columns of a picture of one point."""
    total, places = image.sum(), torch.arange(len(image), dtype=image.dtype)
    weights = torch.stack([image.sum(1), image.sum(0)]) / total
    centre = weights @ places
    return centre, (weights * (places - centre[:, None]).square()).sum(1)


@pytest.mark.parametrize("name", CALLS)
def test_a_constant_image_is_kept(name, make_draws):
    images = torch.full((2, 3, 21, 30), 0.37)
    torch.testing.assert_close(getattr(blur, name)(images, make_draws(images), **CALLS[name]), images)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_gaussian_blur_is_scipys(sigma, make_draws):
    images = torch.rand(1, 1, 25, 31, dtype=torch.float64)
    expected = gaussian_filter(images[0, 0].numpy(), sigma, mode="nearest", radius=math.ceil(4 * sigma))
    out = blur.gaussian_blur(images, make_draws(images), sigma=sigma)
    torch.testing.assert_close(out[0, 0], torch.from_numpy(expected))


@pytest.mark.parametrize("radius", [0.3, 1.0, 4.0, 8.0])
def test_a_lens_makes_a_disc_of_a_point(radius, make_draws):
    out = blur.defocus_blur(point(), make_draws(point()), radius=radius, softness=0.3)[0, 0]
    torch.testing.assert_close(out, out.T)
    torch.testing.assert_close(out, out.flip(0))
    assert out.sum().item() == pytest.approx(1)
    if radius >= 4:  # level inside, nothing outside, and as much in all as the disc's area says
        level = out[20, 20 : 20 + int(radius) - 1]
        assert level.tolist() == pytest.approx([1 / (math.pi * radius**2)] * len(level), rel=0.02)
        assert out[20, 20 + math.ceil(radius) + 2 :].max() < 1e-9
        assert spread(out)[1].tolist() == pytest.approx([radius**2 / 4 + 1 / 12 + 0.3**2] * 2, rel=0.03)


@pytest.mark.parametrize(("reach", "rounds", "least", "most"), [(0.1, 1, 0.3, 0.7), (1, 1, 0.8, 1), (2, 3, 0.95, 1)])
def test_glass_moves_pixels_and_not_far(reach, rounds, least, most, make_draws):
    height, width = 19, 26
    source = blur._swapped_places(make_draws(torch.zeros(300, 1)), height, width, reach, rounds)
    here = torch.arange(height * width)
    assert torch.equal(source.sort(1).values, here.expand_as(source))  # each pixel is somewhere, once
    rows, columns = (source // width - here // width).abs(), (source % width - here % width).abs()
    assert least < ((rows > 0) | (columns > 0)).double().mean() < most
    for moved in (rows, columns):  # in a round a pixel is swapped once for itself, and now and then for a neighbour
        assert (moved <= 2 * rounds * math.ceil(reach)).double().mean() > 0.97


def test_glass_moves_channels_together(make_draws):
    images = torch.rand(1, 1, 12, 12).expand(1, 3, 12, 12).contiguous()
    out = blur.glass_blur(images, make_draws(images), sigma=0.4, reach=1, rounds=1)
    assert torch.equal(out[:, 0], out[:, 1])


@pytest.mark.parametrize("degrees", [0.0, 30.0, -90.0])
def test_a_smear_runs_away_from_its_direction(degrees):
    out = blur.smear(point(), torch.tensor([degrees]), sigma=4.0, reach=8)[0, 0]
    centre, variance = spread(out)
    away = torch.tensor([-math.sin(math.radians(degrees)), -math.cos(math.radians(degrees))], dtype=torch.float64)
    weights = torch.exp(-torch.arange(15, dtype=torch.float64).square() / 32)
    mean = (weights @ torch.arange(15.0).double()) / weights.sum()  # half a Gaussian, cut after 3.5 deviations
    torch.testing.assert_close(centre - 20, mean * away, rtol=0, atol=0.02)
    assert variance[0].item() == pytest.approx((variance.sum() * away[0] ** 2).item(), abs=0.5)


def test_images_are_smeared_in_directions_of_their_own(make_draws):
    images = point().repeat(50, 1, 1, 1)
    out = blur.motion_blur(images, make_draws(images), sigma=3.0, reach=6)
    downs, rights = torch.stack([spread(image[0])[0] - 20 for image in out]).T
    angles = torch.rad2deg(torch.atan2(downs, rights).abs())
    assert angles.min() > 134  # to the left, at most 45 degrees up or down
    assert angles.std() > 8


def test_the_reach_cuts_a_smear():
    out = blur.smear(point(), torch.tensor([0.0]), sigma=50.0, reach=3)[0, 0, 20]
    assert (out > 0).nonzero().flatten().tolist() == list(range(14, 21))


def test_a_zoom_magnifies_about_the_middle(make_draws):
    width = 31
    ramp = (torch.arange(width, dtype=torch.float64) / (width - 1)).expand(1, 1, 9, width)
    out = blur.zoom_blur(ramp, make_draws(ramp), largest=1.2, step=0.1)
    slope = (2 + 1 / 1.1 + 1 / 1.2) / 4  # the image itself, and by 1, 1.1 and 1.2
    torch.testing.assert_close(out - 0.5, slope * (ramp - 0.5))
