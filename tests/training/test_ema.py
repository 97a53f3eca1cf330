import pytest
import torch
from torch import nn

from mamba_mender.training.ema import EMA


def test_known_average():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    ema = EMA(model, decay=0.5)
    nn.init.ones_(model.weight)
    ema.update(model)  # d = 2/11: 0 * 2/11 + 1 * 9/11
    assert ema.average["weight"].item() == pytest.approx(9 / 11)
    ema.update(model)  # d = 3/12
    assert ema.average["weight"].item() == pytest.approx(9 / 11 * 0.25 + 0.75)


def test_integer_buffers_are_copied():
    model = nn.BatchNorm1d(2)
    ema = EMA(model, decay=0.9)
    model(torch.randn(4, 2))
    ema.update(model)
    assert ema.average["num_batches_tracked"].item() == 1


def test_applied_puts_the_weights_back_even_on_error():
    model = nn.Linear(2, 2)
    ema = EMA(model, decay=0.9)
    before = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
    with ema.applied(model):
        assert torch.equal(model.weight, before)
    assert torch.equal(model.weight, before + 1)
    with pytest.raises(ZeroDivisionError), ema.applied(model):
        raise ZeroDivisionError
    assert torch.equal(model.weight, before + 1)


def test_refuses_a_decay_that_never_moves():
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        EMA(nn.Linear(1, 1), decay=1.0)
