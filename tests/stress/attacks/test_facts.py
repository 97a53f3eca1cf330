import pytest
import torch
from torch import nn

from mamba_mender.stress.attacks.facts import is_joint, is_random


@pytest.mark.parametrize(
    ("name", "random", "joint"), [("counting", False, False), ("random", True, False), ("centred", False, True)]
)
def test_the_facts_are_found(models, digits, name, random, joint):
    net, images, _ = digits
    model = models[name](net)
    assert is_random(model, images) is random
    assert is_joint(model, images) is joint


def test_dropout_is_random_and_not_joint():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.2))
    images = torch.rand(50, 1, 4, 4)
    assert is_random(model, images)
    assert not is_joint(model, images)


def test_a_repair_that_sets_in_on_strong_noise_only_is_found_to_be_joint():
    class Gated(nn.Module):
        def forward(self, images):
            flat = images.flatten(1)
            odd = flat.std(1, keepdim=True) > 0.1
            return torch.where(odd, flat - (flat * odd).mean(0), flat)

    assert is_joint(Gated(), torch.full((8, 1, 4, 4), 0.5))
