"""Small networks on pixels, and digits, shared by the tests of the peers."""

import pytest
import torch
from torch import nn

from mamba_mender.data import MemoryImages, Normalise
from mamba_mender.models import Vim

SIZES = {"in_chans": 1, "pool": "mean", "d_state": 4}


@pytest.fixture(scope="session")
def trained(digits, fit):
    """A Vim of two blocks and four tokens on the pixels of digits, 96 % right; tests must not change it."""
    torch.manual_seed(0)
    vim = Vim(img_size=8, patch_size=4, num_classes=10, embed_dim=24, depth=2, **SIZES)
    model = nn.Sequential(Normalise(digits.mean, digits.std), vim)
    train = digits.train.batch(torch.arange(len(digits.train)))
    return fit(model, train.images, train.labels, steps=60, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def vim():
    """A random Vim with sharp answers on pixels of 4x4, four classes, in float64."""
    model = Vim(img_size=4, patch_size=2, num_classes=4, embed_dim=6, depth=2, **SIZES)
    nn.init.normal_(model.head.weight, std=1.5)
    for layer in model.layers:
        layer.mixer.out_proj.weight.data.mul_(5)  # so that what the blocks' norms do matters
    return nn.Sequential(Normalise([0.5], [0.3]), model).double().eval()


@pytest.fixture
def conv():
    """A random convolution with BatchNorm that has seen some images, four classes, in float64."""
    model = nn.Sequential(nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(20, 4)).double()
    nn.init.normal_(model[1].weight)
    model(torch.rand(50, 1, 4, 4, dtype=torch.float64))
    return model.eval()


@pytest.fixture
def pixels():
    """Draw pixels of 4x4 in float64."""

    def draw(count, seed=0):
        return torch.rand(count, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

    return draw


@pytest.fixture
def source():
    """Images of 4x4 that the small networks may be calibrated on."""
    images = torch.randint(0, 256, (70, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(9))
    return MemoryImages(images, torch.arange(70) % 4)


@pytest.fixture
def accuracy(digits):
    """Judge a module on the test digits, changed by a function, in batches in order."""
    test = digits.test.batch(torch.arange(len(digits.test)))

    def judge(model, change=lambda images: images, batch_size=100):
        with torch.no_grad():
            answers = torch.cat([model(part).argmax(1) for part in change(test.images).split(batch_size)])
        return (answers == test.labels).double().mean().item()

    return judge
