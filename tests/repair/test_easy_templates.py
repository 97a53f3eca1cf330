import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.data import Normalise
from mamba_mender.models import create_model
from mamba_mender.repair import easy_templates
from mamba_mender.taps import find_states


@pytest.fixture
def model():
    return create_model("vim_micro", num_classes=10, img_size=8, in_chans=1, depth=1)


def test_one_template_a_class_and_state(model, decoys):
    keys = find_states(model, ["0.x", "0.y"])
    templates = easy_templates(model, decoys.train, keys, Normalise(decoys.mean, decoys.std), count=2)
    assert list(templates) == keys
    assert [tuple(found.shape) for found in templates.values()] == [(10, 64), (10, 64), (10, 32)]
    assert all(found.any(1).all() for found in templates.values())


def test_the_model_is_left_as_it_was(model, decoys):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    easy_templates(model, decoys.train, find_states(model, ["0.x"]), Normalise(decoys.mean, decoys.std), count=1)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_refuses_a_class_without_images(model, decoys):
    some = decoys.train.subset((decoys.train.labels != 4).nonzero().flatten())
    with pytest.raises(UserError, match=r"classes \[4\] have fewer than 2 training images"):
        easy_templates(model, some, find_states(model, ["0.x"]), Normalise(decoys.mean, decoys.std))
