"""Weather: snow, frost, fog, brightness, and drops on the lens."""

import math
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender.data.corruptions.blur import smear
from mamba_mender.data.corruptions.draws import Draws
from mamba_mender.data.corruptions.fields import fractal, smooth

LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are to the eye


def snow(
    images: Tensor,
    draws: Draws,
    *,
    mean: float,
    sigma: float,
    flake: float,
    threshold: float,
    streak: float,
    streak_reach: float,
    keep: float,
) -> Tensor:
    """Whiten the scene and let it snow: noise, enlarged, thresholded and smeared downwards, added twice.

    Args:
        images: (batch, channels, height, width).
        draws: random numbers.
        mean: mean of the noise.
        sigma: its standard deviation.
        flake: by how much the noise is enlarged.
        threshold: what is below falls away.
        streak: standard deviation of the smear, in pixels.
        streak_reach: half its length, in pixels.
        keep: weight of the image against the image whitened.
    """
    height, width = images.shape[2:]
    coarse = mean + sigma * draws.normal(1, math.ceil(height / flake), math.ceil(width / flake))
    flakes = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1).to(images)
    layer = smear(flakes, draws.uniform(low=-135, high=-45), sigma=streak, reach=streak_reach)
    whitened = torch.maximum(images, 1.5 * _grey(images) + 0.5)
    return keep * images + (1 - keep) * whitened + layer + layer.flip(2, 3)


def frost(images: Tensor, draws: Draws, *, keep: float, ice: float) -> Tensor:
    """Let ice grow over the image: ``keep x + ice i``.

    ImageNet-C lays photographs of frosted panes over the image. Here no file is needed, for the ice ``i`` is made:
    it grows where one rough fractal landscape is high, its crystals are three contour lines of another, and for three
    channels it is bluish.
    """
    height, width = images.shape[2:]
    cover = ((fractal(draws, height, width, decay=1.4) - 0.35) / 0.3).clamp(0, 1)
    lines = (3 * fractal(draws, height, width, decay=1.4)).frac()
    crystals = (1 - (2 * lines - 1).abs()).square()
    layer = (cover * (0.25 + 0.75 * crystals))[:, None]
    return keep * images + ice * layer * _tint(images, (0.8, 0.93, 1.0))


def fog(images: Tensor, draws: Draws, *, density: float, decay: float) -> Tensor:
    """Add a fractal landscape and scale back to the image's own brightest value: ``(x + d f) max / (max + d)``."""
    brightest = images.amax((1, 2, 3), keepdim=True)
    veil = fractal(draws, *images.shape[2:], decay=decay)[:, None]
    return (images + density * veil) * brightest / (brightest + density)


def brightness(images: Tensor, draws: Draws, *, amount: float) -> Tensor:
    """Add to the value (of hue, saturation, value); for one channel to the pixel."""
    if images.shape[1] == 1:
        return images + amount
    from kornia.color import hsv_to_rgb, rgb_to_hsv  # kornia takes 2 s to import

    hue, saturation, value = rgb_to_hsv(images).unbind(1)
    return hsv_to_rgb(torch.stack([hue, saturation, (value + amount).clamp(max=1)], dim=1))


def spatter(images: Tensor, draws: Draws, *, drop: float, share: float, strength: float, mud: bool) -> Tensor:
    """Let drops of water or mud cover a share of the lens.

    Drops are where smoothed noise is highest. Water lightens by up to ``strength``, more where it is thicker; mud
    hides what is behind it where its edge, softened over ``strength`` pixels, is still thick.

    Args:
        images: (batch, channels, height, width).
        draws: random numbers.
        drop: size of a drop, in pixels.
        share: how much of the lens is covered.
        strength: see above.
        mud: mud, not water.
    """
    liquid = smooth(draws.normal(*images.shape[2:]), drop)[:, None]
    liquid = (liquid - liquid.mean((2, 3), keepdim=True)) / liquid.std((2, 3), correction=0, keepdim=True).clamp(
        min=1e-6
    )
    above = liquid - NormalDist().inv_cdf(1 - share)
    if mud:
        cover = smooth((above > 0).to(images), strength)
        cover = torch.where(cover < 0.8, 0.0, cover).to(images)
        return (1 - cover) * images + cover * _tint(images, (63 / 255, 42 / 255, 20 / 255))
    thickness = (above / above.amax((2, 3), keepdim=True).clamp(min=1e-6)).clamp(min=0).sqrt()
    return images + strength * thickness * _tint(images, (175 / 255, 238 / 255, 238 / 255))


def _grey(images: Tensor) -> Tensor:
    """Weigh the channels as the eye does, (batch, 1, height, width)."""
    if images.shape[1] == 1:
        return images
    return (images * torch.tensor(LUMA).to(images).view(3, 1, 1)).sum(1, keepdim=True)


def _tint(images: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """Give a colour the images' channels, (channels, 1, 1): itself, or how bright it is to the eye."""
    tint = torch.tensor(colour).to(images).view(1, 3, 1, 1)
    return tint[0] if images.shape[1] == 3 else _grey(tint)[0]
