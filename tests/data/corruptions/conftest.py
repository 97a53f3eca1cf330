"""Real and made images for corruptions."""

import pytest
import torch
import torch.nn.functional as F

from mamba_mender.data import load_data
from mamba_mender.data.corruptions.draws import Draws


@pytest.fixture(scope="session")
def digits():
    """Real digits, enlarged to 30 pixels a side, (48, 1, 30, 30)."""
    images = load_data("digits").test.batch(torch.arange(48)).images
    return F.interpolate(images, (30, 30), mode="bilinear", align_corners=False)


@pytest.fixture(scope="session")
def scenes():
    """Made scenes in colour: a sky that pales downwards, ground, and a few things of other colours, (24, 3, 32, 32)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.empty(24, 3, 32, 32)
    pale = torch.linspace(0, 1, 32)[:, None].expand(32, 32)
    images[:] = torch.stack([0.3 + 0.4 * pale, 0.5 + 0.3 * pale, 0.8 - 0.1 * pale])
    images[:, :, 20:] = torch.tensor([0.35, 0.3, 0.15]).view(3, 1, 1)
    for image in images:
        for _ in range(5):
            top, left, height, width = torch.randint(3, 20, (4,), generator=generator).tolist()
            image[:, top : top + height // 2, left : left + width // 2] = torch.rand(3, 1, 1, generator=generator)
    return images


@pytest.fixture
def make_draws():
    def make(images, seed=0):
        return Draws(images, torch.Generator().manual_seed(seed))

    return make
