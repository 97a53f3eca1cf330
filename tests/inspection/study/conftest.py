import pytest
import torch

from mamba_mender.models import create_model


@pytest.fixture
def vim():
    """A tiny image classifier with random weights that differ from their start."""
    model = create_model(
        "vim_micro", num_classes=10, img_size=8, in_chans=1, patch_size=4, embed_dim=8, depth=2, d_state=2
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


@pytest.fixture
def images():
    return torch.randn(3, 1, 8, 8)
