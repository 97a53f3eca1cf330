"""Tiny models and data, shared by the tests of the repair."""

import pytest
import torch

from mamba_mender.data import load_data
from mamba_mender.models import Vim
from mamba_mender.repair import MendConfig


@pytest.fixture(scope="session")
def decoys():
    return load_data("decoy-digits", limit=200)


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
