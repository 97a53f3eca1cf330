import torch
from torch import nn
from torch.testing import assert_close

from mamba_mender.nn import Block, RMSNorm


def test_adds_the_mixed_and_normalised_stream():
    block, h = Block(4, nn.Linear(4, 4)), torch.randn(2, 3, 4)
    assert_close(block(h), h + block.mixer(RMSNorm(4)(h)))


def test_a_dropped_mixer_leaves_the_stream_alone():
    block, h = Block(4, nn.Linear(4, 4), drop_path_rate=0.999), torch.randn(2, 3, 4)
    assert_close(block(h), h, rtol=0, atol=0)


def test_its_state_point_sees_what_goes_on():
    block, seen = Block(4, nn.Linear(4, 4)), []
    block.h.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    assert block(torch.randn(2, 3, 4)) is seen[0]
