import pytest
import torch
from torch import nn

from mamba_mender.stress import health_of, held, reset_model


def test_finds_what_learns_inside_a_sequence(learner):
    inside = learner(0)
    model = nn.Sequential(nn.Identity(), inside)
    model(torch.ones(3, 1, 2, 2))
    assert inside.seen == 3
    with held(model):
        model(torch.ones(3, 1, 2, 2))
    assert inside.seen == 3
    reset_model(model)
    assert inside.seen == 0


def test_asks_only_the_outermost(learner):
    outer, inner = learner(0), learner(0)
    outer.inner = inner
    reset_model(nn.Sequential(outer, nn.Identity()))
    assert (outer._resets, inner._resets) == (1, 0)


def test_a_plain_model_is_left_alone():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    reset_model(model)
    with held(model):
        assert model(torch.ones(1, 1, 2, 2)).shape == (1, 2)
    assert health_of(model, 1) is None


def test_held_is_left_on_an_error(learner):
    model = learner(0)
    with pytest.raises(KeyError), held(model):
        raise KeyError
    assert model._holds == 0


def test_health_is_one_number_a_sample(learner):
    model = nn.Sequential(learner(2))
    model(torch.ones(3, 1, 2, 2))
    assert health_of(model, 3).tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="last_health has samples=3"):
        health_of(model, 4)
