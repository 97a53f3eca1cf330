import pytest
import torch
from torch import nn

from mamba_mender.data import ImageData, MemoryImages
from mamba_mender.nn import StatePoint


class PatchReader(nn.Module):
    """Take 2 x 2 patches as tokens of four channels, and let each channel of their mean vote for a class.

    With ``reads`` only that token has a vote.
    """

    num_classes, in_chans, img_size, grid, class_token_index = 4, 1, (4, 4), (2, 2), None

    def __init__(self, reads=None):
        super().__init__()
        self.embedding = StatePoint("h")
        self.reads = reads
        self.sharpness = nn.Parameter(torch.tensor(4.0))

    def forward(self, images):
        tokens = nn.functional.unfold(images, 2, stride=2).mT  # (batch, 4 tokens, 4 channels)
        tokens = self.embedding(tokens)
        seen = tokens.mean(1) if self.reads is None else tokens[:, self.reads]
        return self.sharpness * seen


def plant(tokens, labels):
    """Write the class into the given tokens of black images: one white pixel at the class's place in the patch."""
    images = torch.zeros(len(labels), 4, 4, dtype=torch.uint8)
    masks = torch.zeros(len(labels), 1, 4, 4, dtype=torch.bool)
    for image, mask, label, own in zip(images, masks, labels.tolist(), tokens, strict=True):
        for token in own:
            top, left = 2 * (token // 2), 2 * (token % 2)
            image[top + label // 2, left + label % 2] = 255
            mask[0, top : top + 2, left : left + 2] = True
    return images[:, None], masks


@pytest.fixture
def make_data():
    """Make 48 images of four classes with the class planted in one token of each, or in all."""

    def make(everywhere=False, masks=True):
        labels = torch.arange(48) % 4
        tokens = [range(4) if everywhere else [number // 4 % 4] for number in range(48)]
        images, found = plant(tokens, labels)
        split = MemoryImages(images, labels, masks=found if masks else None)
        return ImageData(
            name="planted",
            train=split,
            validation=split.subset(torch.arange(0)),
            test=split.subset(torch.arange(24)),
            classes=["north", "east/west", "south", "up"],
            channels=1,
            img_size=(4, 4),
            mean=[0.0],
            std=[1.0],
            description="a class written into a patch",
        )

    return make


@pytest.fixture
def reader():
    return PatchReader()
