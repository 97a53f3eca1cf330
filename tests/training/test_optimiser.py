import pytest
import torch
from torch import nn

from mamba_mender.models import create_model
from mamba_mender.training.optimiser import make_optimiser, parameter_groups


def names_without_decay(model):
    kept = [id(p) for group in parameter_groups(model, 0.1) if group["weight_decay"] == 0 for p in group["params"]]
    return {name for name, parameter in model.named_parameters() if id(parameter) in kept}


def test_vim_decays_matrices_only():
    model = create_model("vim_micro", num_classes=3, img_size=8, in_chans=1)
    spared = names_without_decay(model)
    every = {name for name, _ in model.named_parameters()}
    assert {name for name in every if name.rpartition(".")[2] in ("A_log", "A_b_log", "D", "D_b", "bias")} <= spared
    assert {name for name in every if "norm" in name} <= spared
    assert {name for name in every - spared if "proj" in name or "head" in name}
    assert not any(name.endswith("proj.weight") for name in spared)


def test_model_and_parameter_marks_are_heeded():
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False), "c": nn.Linear(2, 2)})
    model.no_weight_decay = lambda: {"a.weight"}
    model["b"].weight._no_weight_decay = True
    assert names_without_decay(model) == {"a.weight", "b.weight", "c.bias"}


def test_frozen_parameters_are_left_out():
    model = nn.Linear(2, 2)
    model.weight.requires_grad_(False)
    assert [len(group["params"]) for group in parameter_groups(model, 0.1)] == [1]
    model.bias.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing can train"):
        parameter_groups(model, 0.1)


def test_only_the_decayed_group_shrinks():
    model = nn.Linear(2, 2)
    nn.init.ones_(model.weight)
    nn.init.ones_(model.bias)
    optimiser = make_optimiser(model, learning_rate=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    assert torch.allclose(model.weight, torch.full((2, 2), 0.95))
    assert torch.equal(model.bias, torch.ones(2))
