"""Add noise of any level to images."""

from collections.abc import Callable

import torch
from torch import Tensor

from mamba_mender._check import UserError, nearest
from mamba_mender.data.corruptions.draws import Draws
from mamba_mender.data.corruptions.noise import gaussian_noise, impulse_noise, speckle_noise, uniform_noise
from mamba_mender.data.corruptions.pixels import check_pixels

KINDS: dict[str, tuple[Callable[..., Tensor], str]] = {  # kind to its function and what its level is
    "gaussian": (gaussian_noise, "sigma"),
    "uniform": (uniform_noise, "half_width"),
    "speckle": (speckle_noise, "sigma"),
    "impulse": (impulse_noise, "share"),
}


def add_noise(images: Tensor, kind: str, level: float, *, generator: torch.Generator | None = None) -> Tensor:
    """Add noise to pixels and clip them.

    ``gaussian``: ``x + level n``; ``uniform``: ``x + level u`` with u from [-1, 1); ``speckle``: ``x + level x n``;
    ``impulse``: a share ``level`` of the values becomes black or white, by halves. Each channel has its own noise.
    As with :func:`corrupt`, what an image gets depends on the generator alone, not on where batches end.

    Args:
        images: pixels from 0 to 1, 1 or 3 channels, (batch, channels, height, width).
        kind: "gaussian", "uniform", "speckle" or "impulse".
        level: standard deviation, half width, relative standard deviation or share; 0 changes nothing.
        generator: gives each image its seed; on the CPU; torch's own if omitted.

    Returns:
        Pixels from 0 to 1 of the same shape, dtype and device, differentiable in the images.

    Raises:
        UserError: the kind is unknown, the level is negative or a share above 1, or the images are not pixels.

    Example:
        >>> noisy = add_noise(torch.full((1, 1, 100, 100), 0.5), "impulse", 0.2)
        >>> bool((noisy != 0.5).float().mean().sub(0.2).abs() < 0.02)
        True
    """
    if kind not in KINDS:
        raise UserError(f"add_noise: no noise {kind!r}; {nearest(kind, KINDS)}.")
    if not 0 <= level < float("inf") or (kind == "impulse" and level > 1):
        highest = "a share from 0 to 1" if kind == "impulse" else "a number of at least 0"
        raise UserError(f"add_noise: the level of {kind} noise must be {highest}, got {level}.")
    check_pixels("add_noise", images)
    function, parameter = KINDS[kind]
    return function(images, Draws(images, generator), **{parameter: level}).clamp(0, 1)
