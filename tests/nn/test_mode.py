import pytest
from torch import nn

from mamba_mender.nn.mode import in_mode


def test_holds_the_mode_and_puts_each_module_back():
    model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with in_mode(model, training=False):
        assert [module.training for module in model] == [False, False]
    with in_mode(model, training=True):
        assert [module.training for module in model] == [True, True]
    assert [module.training for module in model] == [True, False]


def test_the_mode_comes_back_on_error():
    model = nn.Linear(1, 1)
    with pytest.raises(ZeroDivisionError), in_mode(model, training=False):
        raise ZeroDivisionError
    assert model.training
