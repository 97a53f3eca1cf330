import contextlib

import pytest
import torch
from torch import nn

from mamba_mender.data import MemoryImages


class OnePixel(nn.Module):
    """Say the class by one pixel: right on every clean image of `planted`, and brittle."""

    def forward(self, images):
        return torch.stack([0.5 - images[:, 0, 0, 0], images[:, 0, 0, 0] - 0.5], dim=1)


class WholeImage(nn.Module):
    """Say the class by the mean of all pixels: right on every clean image of `planted`, and robust."""

    def forward(self, images):
        bright = images.mean((1, 2, 3))
        return torch.stack([0.5 - bright, bright - 0.5], dim=1)


class Learner(nn.Module):
    """Be right from the image on that comes after `needed` others, and count what it does."""

    def __init__(self, needed, *, forgets=True):
        super().__init__()
        self.needed, self.forgets = needed, forgets
        self.register_buffer("seen", torch.tensor(0))
        self._resets, self._holds, self._batches = 0, 0, []

    def forward(self, images):
        places = self.seen + torch.arange(len(images))
        if not self._holds:
            self.seen += len(images)
            self._batches.append(len(images))
        self.last_health = (places >= self.needed).float()
        sign = torch.where(places >= self.needed, 1.0, -1.0)
        return WholeImage()(images) * sign[:, None]

    def reset(self):
        self._resets += 1
        if self.forgets:
            self.seen.zero_()

    @contextlib.contextmanager
    def held(self):
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1


@pytest.fixture(scope="session")
def planted():
    """Images whose class is in one pixel (0.4 or 0.6) and in the brightness of all others (0.2 or 0.8)."""
    labels = torch.arange(600) % 2
    images = torch.full((600, 1, 8, 8), 0.2) + 0.6 * labels.view(-1, 1, 1, 1)
    images[:, 0, 0, 0] = 0.4 + 0.2 * labels
    return MemoryImages((255 * images).round().to(torch.uint8), labels)


@pytest.fixture
def one_pixel():
    return OnePixel()


@pytest.fixture
def whole_image():
    return WholeImage()


@pytest.fixture
def learner():
    return Learner
