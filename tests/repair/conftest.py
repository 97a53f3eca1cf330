"""Tiny models and data, shared by the tests of the repair."""

import pytest
import torch
from torch import nn

from mamba_mender.data import load_data
from mamba_mender.models import Vim
from mamba_mender.repair import MendConfig


@pytest.fixture(scope="session")
def decoys():
    return load_data("decoy-digits", limit=200)


@pytest.fixture(scope="session")
def digits():
    return load_data("digits")


@pytest.fixture(scope="session")
def fit():
    """Train a model on images for some steps, and give it in evaluation mode."""

    def run(model, images, labels, *, steps, generator=None):
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(steps):
            rows = torch.randint(len(labels), (64,), generator=generator)
            loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return model.eval()

    return run


@pytest.fixture
def tiny():
    """A Vim of one block and four tokens in float64, on which the second order can be checked."""
    torch.manual_seed(0)
    model = Vim(img_size=4, patch_size=2, in_chans=1, num_classes=3, embed_dim=4, depth=1, d_state=2, pool="mean")
    return model.double()


@pytest.fixture
def quick():
    """Settings for runs of a second."""
    return MendConfig(
        base_steps=4, steps=3, batch_size=16, masked_batch_size=8, internal_batch_size=8, seeds=(0,), easy_count=2
    )
