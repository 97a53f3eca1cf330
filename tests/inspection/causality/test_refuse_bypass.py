import pytest
import torch
from torch import nn

from mamba_mender.inspection.causality import effect_graph, path_effects
from mamba_mender.nn import StatePoint


class Aside(nn.Module):
    """A layer that puts out what it says, while the residual stream is carried beside it."""

    def __init__(self):
        super().__init__()
        self.y, self.h = StatePoint("y"), StatePoint("h")

    def forward(self, said, stream):
        stream = stream + said
        return self.h(self.y(torch.tanh(stream))), stream


class Beside(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = StatePoint("h")
        self.layers = nn.ModuleList(Aside() for _ in range(3))

    def forward(self, tokens):
        said, stream = self.embedding(tokens), torch.zeros_like(tokens)
        for layer in self.layers:
            said, stream = layer(said, stream)
        return (said + stream).mean(1)


@pytest.mark.parametrize("measure", [effect_graph, lambda model, x: path_effects(model, x, lambda o: o[:, 0])])
def test_refuses_a_stream_that_is_carried_beside_the_blocks(measure, tokens):
    with pytest.raises(ValueError, match=r"Beside carries more past its last block than that block's output h"):
        measure(Beside(), tokens)


def test_takes_a_whole_stream(chain, tokens):
    assert effect_graph(chain, tokens).blocks == [0, 1, 2]
