"""Weather adds what it says, in grey and in colour."""

import colorsys

import pytest
import torch

from mamba_mender.data.corruptions import weather

SNOW = dict(mean=0.2, sigma=0.3, flake=2.0, threshold=0.5, streak=3.0, streak_reach=8.0, keep=0.7)


@pytest.mark.parametrize("channels", [1, 3])
def test_snow_without_flakes_only_whitens(channels, make_draws):
    images = torch.rand(2, channels, 16, 16)
    out = weather.snow(images, make_draws(images), **SNOW | {"threshold": 9.0})
    weights = torch.tensor([0.299, 0.587, 0.114]) if channels == 3 else torch.ones(1)
    grey = torch.einsum("bchw,c->bhw", images, weights)[:, None]
    torch.testing.assert_close(out, 0.7 * images + 0.3 * torch.maximum(images, 1.5 * grey + 0.5))


def test_flakes_fall_twice_the_second_time_turned_round(make_draws):
    images = torch.zeros(4, 3, 32, 32)
    flakes = weather.snow(images, make_draws(images), **SNOW) - 0.15  # what whitens black
    assert (flakes > 0.01).any()
    torch.testing.assert_close(flakes, flakes.flip(2, 3))
    assert torch.equal(flakes[:, 0], flakes[:, 2])
    down, across = flakes.diff(dim=2).abs().mean(), flakes.diff(dim=3).abs().mean()
    assert down < across  # they are streaks, more upright than level


@pytest.mark.parametrize("channels", [1, 3])
def test_frost_is_ice_over_a_darker_image(channels, make_draws):
    images = torch.full((8, channels, 40, 40), 0.5)
    out = weather.frost(images, make_draws(images), keep=0.6, ice=0.7)
    ice = (out - 0.3) / 0.7
    assert ice.min() >= -1e-6
    assert ice.max() <= 1 + 1e-6
    assert 0.2 < (ice > 0.02).float().mean() < 0.95  # the pane is neither clear nor shut
    if channels == 3:
        assert (ice[:, 2] >= ice[:, 0]).all()  # bluish


def test_fog_keeps_the_brightest_value_as_limit(make_draws):
    images = torch.rand(3, 1, 32, 32) * torch.tensor([0.2, 0.5, 1.0]).view(3, 1, 1, 1)
    out = weather.fog(images, make_draws(images), density=2.0, decay=2.0)
    limit = images.amax((1, 2, 3), keepdim=True)
    assert (out <= limit + 1e-6).all()
    veil = (out * (limit + 2) / limit - images) / 2
    assert veil.amin((1, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert veil.amax((1, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert not torch.allclose(veil[0], veil[1])


def test_fog_over_black_is_black(make_draws):
    images = torch.zeros(1, 3, 16, 16)
    assert torch.equal(weather.fog(images, make_draws(images), density=2.0, decay=2.0), images)


def test_brightness_adds_to_a_grey_pixel(make_draws):
    images = torch.rand(1, 1, 5, 5)
    assert torch.equal(weather.brightness(images, make_draws(images), amount=0.2), images + 0.2)


def test_brightness_adds_to_the_value_of_a_colour(make_draws):
    images = torch.rand(1, 3, 6, 6, dtype=torch.float64)
    out = weather.brightness(images, make_draws(images), amount=0.2)
    for before, after in zip(images[0].flatten(1).T.tolist(), out[0].flatten(1).T.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        assert after == pytest.approx(colorsys.hsv_to_rgb(hue, saturation, min(value + 0.2, 1)), abs=1e-6)


@pytest.mark.parametrize("mud", [False, True], ids=["water", "mud"])
def test_drops_cover_a_share_of_the_lens(mud, make_draws):
    images = torch.full((20, 1, 64, 64), 0.5)
    out = weather.spatter(images, make_draws(images), drop=1.5, share=0.2, strength=0.3, mud=mud)
    assert (out != images).float().mean().item() == pytest.approx(0.2, abs=0.04)


def test_water_lightens_and_mud_hides(make_draws):
    images = torch.rand(3, 3, 32, 32)
    water = weather.spatter(images, make_draws(images), drop=2.0, share=0.2, strength=0.6, mud=False)
    assert (water >= images).all()
    assert (water - images).amax() == pytest.approx(0.6 * 238 / 255, abs=1e-5)
    mud = weather.spatter(images, make_draws(images), drop=2.0, share=0.2, strength=0.3, mud=True)
    brown = torch.tensor([63, 42, 20]).view(3, 1, 1) / 255
    hidden = ((mud - brown).abs() < 1e-3).all(1)
    assert 0.05 < hidden.float().mean() < 0.3
