import pytest
import torch

from mamba_mender.repair.guard import GuardConfig
from mamba_mender.repair.guard.law import Law, Modes
from mamba_mender.repair.guard.memory import Memory, learn
from mamba_mender.repair.guard.metrics import metaplastic_adaptation

MODES = Modes(None, (0, 1))
LAW = Law(torch.zeros(1, 2), torch.eye(2)[None])


def adaptation(memory, mean, **settings):
    config = GuardConfig(horizon=100, **settings)
    found = learn(memory, Law(LAW.mean + mean, LAW.scatter), 10, modes=MODES, config=config)
    return metaplastic_adaptation(found, 10, horizon=100)


def test_it_is_one_where_the_new_samples_are_all_that_is_believed():
    assert adaptation(None, 0) == 1


def test_it_is_zero_where_a_full_memory_is_not_surprised():
    assert adaptation(Memory(LAW, 100.0), 0) == pytest.approx(0, abs=1e-12)


def test_it_is_zero_without_metaplasticity_and_without_learning():
    assert adaptation(Memory(LAW, 100.0), 50, metaplasticity=False) == pytest.approx(0, abs=1e-12)
    assert metaplastic_adaptation(None, 10, horizon=100) == 0


def test_surprise_raises_it():
    assert 0.1 < adaptation(Memory(LAW, 100.0), 50) < 1


def test_a_change_of_health_raises_it():
    found = learn(
        Memory(LAW, 100.0), LAW, 10, modes=MODES, config=GuardConfig(horizon=100), health=torch.full((10,), 0.1)
    )
    assert 0.01 < metaplastic_adaptation(found, 10, horizon=100) < 1


def test_a_step_of_no_samples_is_refused():
    found = learn(None, LAW, 1, modes=MODES, config=GuardConfig())
    with pytest.raises(ValueError, match="at least one sample, got 0"):
        metaplastic_adaptation(found, 0, horizon=100)
