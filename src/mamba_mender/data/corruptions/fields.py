"""Random fields that weather and distortions are made of."""

import math

import numpy as np
import torch
from torch import Tensor

from mamba_mender.data.corruptions.draws import Draws


def smooth(fields: Tensor, sigma: float) -> Tensor:
    """Smooth fields, (..., height, width), by a Gaussian of any width, mirrored at the edges.

    One matrix for the rows and one for the columns: the width may exceed the field, as with ImageNet-C's first
    elastic transform, and costs nothing.
    """
    from scipy.ndimage import gaussian_filter1d

    def matrix(size: int) -> Tensor:
        return torch.from_numpy(gaussian_filter1d(np.eye(size), sigma, axis=0, mode="reflect", truncate=3)).to(fields)

    return matrix(fields.shape[-2]) @ fields @ matrix(fields.shape[-1]).T


def fractal(draws: Draws, height: int, width: int, *, decay: float) -> Tensor:
    """Draw landscapes by midpoint displacement (diamond, then square), (batch, height, width), from 0 to 1.

    From one octave to the next the displacement shrinks by ``decay ** 2``, as in ImageNet-C; the landscape has a
    power of two as its side, joins at its edges, and a corner of it is taken.
    """
    size = 2 ** max(1, math.ceil(math.log2(max(height, width))))
    field = draws.uniform(size, size, low=-1)
    field[:, 0, 0] = 0
    step, amplitude = size, 1.0
    while step >= 2:
        half = step // 2
        corners = field[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        centres = (pairs + pairs.roll(-1, 2)) / 4 + amplitude * field[:, half::step, half::step]
        field[:, half::step, half::step] = centres
        for rows, columns, along, across in ((0, half, 2, 1), (half, 0, 1, 2)):
            ends = corners + corners.roll(-1, along)
            sides = centres + centres.roll(1, across)
            field[:, rows::step, columns::step] *= amplitude
            field[:, rows::step, columns::step] += (ends + sides) / 4
        step, amplitude = half, amplitude / decay**2
    low, high = field.amin((1, 2), keepdim=True), field.amax((1, 2), keepdim=True)
    return ((field - low) / (high - low))[:, :height, :width]
