"""Small things to train: two-class images told apart by their bright half, and nets that take milliseconds."""

import pytest
import torch
from torch import nn

from mamba_mender.data import ImageData, MemoryImages


def make_images(count, seed, classes=3):
    """Noise with one bright row, whose number is the label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    images = torch.randint(0, 120, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)
    images[torch.arange(count), 0, labels] += 90
    return MemoryImages(images, labels)


def make_data(train=96, validation=40):
    return ImageData(
        name="rows",
        train=make_images(train, 0),
        validation=make_images(validation, 1),
        test=make_images(40, 2),
        classes=["first", "second", "third"],
        channels=1,
        img_size=(4, 4),
        mean=[0.3],
        std=[0.2],
        description="noise with a bright row",
    )


class Net(nn.Module):
    """A classifier with dropout (so that generators matter) and a norm (so that buffers matter)."""

    def __init__(self, dropout=0.2):
        super().__init__()
        self.first = nn.Linear(16, 12)
        self.norm = nn.BatchNorm1d(12)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(12, 3)

    def forward(self, images):
        return self.head(self.dropout(torch.relu(self.norm(self.first(images.flatten(1))))))


@pytest.fixture
def data():
    return make_data()


@pytest.fixture
def make_net():
    """Give nets that all start from the same weights."""

    def make(**settings):
        torch.manual_seed(7)
        return Net(**settings)

    return make


@pytest.fixture
def net(make_net):
    return make_net()
