import torch
from torch import nn

from mamba_mender.stress.attacks.stand_in import surrogate_of


def test_a_part_of_a_sequence_is_replaced_by_its_stand_in(models):
    inner = nn.Flatten()
    model = nn.Sequential(nn.Identity(), nn.Sequential(models["quantised"](inner), nn.Threshold(-1.0, 0.0))).eval()
    stand_in = surrogate_of(model)
    images = torch.rand(2, 1, 1, 3)
    assert torch.equal(stand_in(images), images.flatten(1))
    assert not torch.equal(model(images), images.flatten(1))
    assert not stand_in.training


def test_a_plain_model_has_none():
    assert surrogate_of(nn.Linear(2, 2)) is None
    assert surrogate_of(nn.Sequential(nn.Sequential(nn.Flatten()), nn.ReLU())) is None
