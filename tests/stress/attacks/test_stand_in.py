import torch
from torch import nn

from mamba_mender.stress.attacks.stand_in import stand_ins, surrogate_of


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


def test_a_class_may_offer_more_than_its_surrogate(models):
    class Offering(nn.Flatten):
        pass

    stand_ins.register(Offering, lambda model: {"other": nn.Identity()})
    model = nn.Sequential(models["quantised"](nn.Identity()), Offering())
    found = stand_ins(model)
    assert list(found) == ["stand-in", "other"]
    assert found["stand-in"][1] is model[1]
    assert found["other"][0] is model[0]
    assert stand_ins(nn.Flatten()) == {}
