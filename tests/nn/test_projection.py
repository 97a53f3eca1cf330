import torch
from torch import nn
from torch.testing import assert_close

from mamba_mender.nn.projection import Projection


def test_is_a_linear_layer_without_a_bias():
    ours, theirs = Projection(256, 512), nn.Linear(256, 512, bias=False)
    assert isinstance(ours, nn.Linear)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 16, 256)
    assert_close(ours(x), theirs(x))
    assert_close(ours(x[:1, :1]), theirs(x[:1, :1]))
