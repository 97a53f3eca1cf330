"""Noise: each value of each channel by itself."""

import torch
from torch import Tensor

from mamba_mender.data.corruptions.draws import Draws


def gaussian_noise(images: Tensor, draws: Draws, *, sigma: float) -> Tensor:
    """Add noise of one standard deviation: ``x + sigma n``."""
    return images + sigma * draws.normal(*images.shape[1:])


def uniform_noise(images: Tensor, draws: Draws, *, half_width: float) -> Tensor:
    """Add noise from ``[-half_width, half_width)``."""
    return images + half_width * draws.uniform(*images.shape[1:], low=-1)


def speckle_noise(images: Tensor, draws: Draws, *, sigma: float) -> Tensor:
    """Add noise in proportion to the value: ``x + sigma x n``."""
    return images + sigma * images * draws.normal(*images.shape[1:])


def shot_noise(images: Tensor, draws: Draws, *, photons: float) -> Tensor:
    """Count photons, of which white has this many on average: ``Poisson(photons x) / photons``."""
    return draws.poisson(images * photons) / photons


def impulse_noise(images: Tensor, draws: Draws, *, share: float) -> Tensor:
    """Set a share of the values to black or white, by halves."""
    u = draws.uniform(*images.shape[1:])
    return torch.where(u < share / 2, 0.0, torch.where(u < share, 1.0, images)).to(images)
