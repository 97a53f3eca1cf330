"""Digital corruptions against Pillow, colorsys and hand-made answers."""

import colorsys
import io

import numpy as np
import pytest
import torch
from PIL import Image

from mamba_mender.data.corruptions import digital


@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_draws_each_channel_to_its_mean(channels, make_draws):
    images = torch.rand(2, channels, 6, 7, dtype=torch.float64)
    out = digital.contrast(images, make_draws(images), factor=0.2)
    torch.testing.assert_close(out.mean((2, 3)), images.mean((2, 3)))
    torch.testing.assert_close(out.std((2, 3)), 0.2 * images.std((2, 3)))


@pytest.mark.parametrize("size", [(28, 28), (17, 23)])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(channels, size, make_draws):
    images = torch.randint(0, 256, (3, channels, *size)).float() / 255
    out = digital.jpeg_compression(images, make_draws(images), quality=20)
    for before, after in zip(images, out, strict=True):
        pixels = (before * 255).byte().permute(1, 2, 0).numpy()
        picture = Image.fromarray(pixels) if channels == 3 else Image.fromarray(pixels[..., 0])
        picture.save(file := io.BytesIO(), "JPEG", quality=20)
        expected = np.asarray(Image.open(file)).reshape(*size, channels)
        assert np.array_equal((after * 255).round().byte().permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("block", [2.0, 4.0])
def test_whole_blocks_are_averaged(block, make_draws):
    images = torch.rand(2, 3, 8, 12)
    out = digital.pixelate(images, make_draws(images), block=block)
    size = int(block)
    expected = torch.nn.functional.avg_pool2d(images, size)
    torch.testing.assert_close(out, expected.repeat_interleave(size, 2).repeat_interleave(size, 3))


def test_a_pixel_on_the_rim_of_two_blocks_gets_its_share_of_both(make_draws):
    line = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    images = line.expand(1, 1, 3, 3)
    out = digital.pixelate(images, make_draws(images), block=1.5)  # blocks of 0 and of (1 + 1/2 * 0) / 1.5
    torch.testing.assert_close(out[0, 0, 0], torch.tensor([0, 1 / 3, 2 / 3], dtype=torch.float64))


def test_an_elastic_transform_of_nothing_is_nothing(make_draws):
    images = torch.rand(2, 3, 17, 23)
    out = digital.elastic_transform(images, make_draws(images), alpha=0.0, sigma=0.0, corner=0.0)
    torch.testing.assert_close(out, images, rtol=0, atol=2e-5)


def planes(size):
    """An image whose values are its places: rows in the first channel, columns in the second."""
    places = torch.arange(size, dtype=torch.float64) / (size - 1)
    rows, columns = places[:, None].expand(size, size), places.expand(size, size)
    return torch.stack([rows, columns, torch.zeros(size, size)]).double()[None]


def test_corners_of_the_inner_third_move_as_drawn(make_draws):
    size, images = 60, planes(60).repeat(3, 1, 1, 1)
    out = digital.elastic_transform(images, make_draws(images), alpha=0.0, sigma=0.0, corner=4.0)
    draws = make_draws(images)
    draws.uniform(2, size, size)
    after = torch.tensor([[50, 50], [50, 10], [10, 10]]) + 4 * draws.uniform(3, 2, low=-1)
    places = out[:, :2] * (size - 1)
    for image, corners in zip(places, after, strict=True):
        for seen, before in zip(corners, ([50, 50], [50, 10], [10, 10]), strict=True):
            top, left = (int(place) for place in seen)
            (down, right) = (seen % 1).tolist()
            weights = torch.tensor([[(1 - down) * (1 - right), (1 - down) * right], [down * (1 - right), down * right]])
            value = (image[:, top : top + 2, left : left + 2] * weights).sum((1, 2))
            assert value.tolist() == pytest.approx(before, abs=1e-4)


def test_a_ripple_is_smooth_and_as_high_as_alpha_says(make_draws):
    images = planes(80).repeat(4, 1, 1, 1)
    out = digital.elastic_transform(images, make_draws(images), alpha=20.0, sigma=3.0, corner=0.0)
    moved = ((out - images) * 79)[:, :2, 10:-10, 10:-10]
    expected = 20 / 3**0.5 / (2 * 3 * torch.pi**0.5)  # white noise through a Gaussian keeps 1 / (4 pi sigma^2)
    assert moved.std().item() == pytest.approx(expected, rel=0.15)
    assert moved.diff(dim=2).std() < 0.5 * moved.std()


def test_saturation_of_a_colour(make_draws):
    images = torch.rand(1, 3, 6, 6, dtype=torch.float64)
    out = digital.saturate(images, make_draws(images), factor=2.0, offset=0.1)
    for before, after in zip(images[0].flatten(1).T.tolist(), out[0].flatten(1).T.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        assert after == pytest.approx(colorsys.hsv_to_rgb(hue, min(2 * saturation + 0.1, 1), value), abs=1e-6)


def test_saturation_of_grey_acts_on_the_pixel(make_draws):
    images = torch.rand(1, 1, 6, 6)
    assert torch.equal(digital.saturate(images, make_draws(images), factor=2.0, offset=0.1), 2 * images + 0.1)
