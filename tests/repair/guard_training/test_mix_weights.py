import pytest
import torch
from torch import nn

from mamba_mender.repair.guard_training.mix_weights import mix_weights


def norm(value, count):
    """A layer with weights, a running mean and a counter."""
    layer = nn.BatchNorm1d(2)
    for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
        tensor.data.fill_(value)
    layer.num_batches_tracked.fill_(count)
    return layer


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_weights_lie_between_and_counters_are_the_trained_ones(share):
    model = norm(4.0, 7)
    mix_weights(model, norm(2.0, 3).state_dict(), share)
    for name in ("weight", "bias", "running_mean", "running_var"):
        torch.testing.assert_close(model.state_dict()[name], torch.full((2,), 2 + 2 * share))
    assert model.num_batches_tracked == 7


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match="the weights differ in"):
        mix_weights(norm(1.0, 1), {"weight": torch.ones(2), "bias": torch.ones(2)}, 0.5)
