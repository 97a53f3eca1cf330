import pytest
import torch

from mamba_mender.models import create_model


@pytest.fixture
def make_vim():
    """Build a Vim of two narrow blocks on 4 x 4 images: 4 patches and a class token."""

    def make(dtype=torch.float32):
        torch.manual_seed(0)
        sizes = {"num_classes": 3, "img_size": 4, "patch_size": 2, "in_chans": 1, "pool": "class"}
        model = create_model("vim_micro", **sizes, embed_dim=6, depth=2, d_state=3)
        return model.to(dtype).eval()

    return make


@pytest.fixture
def vim(make_vim):
    return make_vim()


@pytest.fixture
def images():
    return torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(1))
