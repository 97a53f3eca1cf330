import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from mamba_mender.nn import CausalConv1d


def test_is_the_depthwise_convolution_it_takes_its_names_from():
    ours, theirs = CausalConv1d(6, 4), nn.Conv1d(6, 6, 4, groups=6, padding=3)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 7, 6)
    assert_close(ours(x), F.silu(theirs(x.mT)[..., :7]).mT)


def test_reverse_is_the_mirror_image():
    ahead, back = CausalConv1d(6, 4), CausalConv1d(6, 4, reverse=True)
    back.load_state_dict(ahead.state_dict())
    x = torch.randn(2, 7, 6)
    assert_close(back(x), ahead(x.flip(1)).flip(1))


def test_starts_like_a_convolution():
    conv = CausalConv1d(2000, 4)
    for parameter in conv.parameters():
        assert 0.49 < parameter.abs().max() <= 0.5  # uniform within 1 / sqrt(width)
