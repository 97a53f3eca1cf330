import pytest
import torch
from torch import nn

from mamba_mender.repair.peers.learner import Learner


class Descent(Learner):
    name = "descent"

    def learn(self, images):
        logits = self.model(images)
        self.step(self.gradients(logits.sum()), lr=0.5)
        return logits


@pytest.fixture
def descent():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False))
    for layer in (model[1], model[2]):
        nn.init.ones_(layer.weight)
    return Descent(model, lambda copied: [copied[1].weight], lambda p: torch.optim.SGD(p, lr=9.0, momentum=0.5))


def test_steps_move_only_what_was_chosen_at_the_given_rate(descent):
    assert descent(torch.ones(1, 1, 1, 2)).item() == 2
    assert descent.model[1].weight.tolist() == [[0.5, 0.5]]
    descent(torch.ones(1, 1, 1, 2))
    assert descent.model[1].weight.tolist() == [[-0.25, -0.25]]  # momentum: 0.5 (1 + 0.5) down
    assert descent.model[2].weight.tolist() == [[1.0]]


def test_a_reset_forgets_the_momentum_too(descent):
    descent(torch.ones(1, 1, 1, 2))
    descent.reset()
    descent(torch.ones(1, 1, 1, 2))
    assert descent.model[1].weight.tolist() == [[0.5, 0.5]]


def test_parameters_need_gradients_only_while_it_adapts(descent):
    with descent.adapting():
        assert [p.requires_grad for p in descent.model.parameters()] == [True, False]
    assert not any(p.requires_grad for p in descent.model.parameters())
    with pytest.raises(ZeroDivisionError), descent.adapting():
        raise ZeroDivisionError
    assert not any(p.requires_grad for p in descent.model.parameters())


def test_gradients_are_recorded_whatever_the_caller_switched_off(descent):
    with torch.inference_mode(), descent.adapting():
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def test_a_loss_that_lacks_a_parameter_has_gradient_zero():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 1), nn.Linear(1, 1))
    peer = Descent(model, lambda copied: list(copied.parameters()), None)
    with peer.adapting():
        gradients = peer.gradients(peer.model[1](torch.ones(1, 2)).sum())
    assert [gradient.abs().sum().item() for gradient in gradients] == [2.0, 1.0, 0.0, 0.0]


def test_images_of_inference_mode_can_be_learnt_from(descent):
    with torch.inference_mode():
        images = torch.ones(1, 1, 1, 2)
    assert descent(images).item() == 2
