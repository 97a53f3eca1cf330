import copy

import pytest
import torch
from torch import nn

from mamba_mender.repair.peers import tent


def adam_by_hand(values, gradients, first, second, step, lr):
    """Move by Adam's rule with the usual constants; gives the new values."""
    for i, gradient in enumerate(gradients):
        first[i] = 0.9 * first[i] + 0.1 * gradient
        second[i] = 0.999 * second[i] + 0.001 * gradient**2
        mean, square = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
        values[i].data -= lr * mean / (square.sqrt() + 1e-8)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_batch_is_a_step_of_adam_on_the_mean_entropy(vim, pixels, steps):
    peer, reference = tent(vim, lr=0.01, steps=steps), copy.deepcopy(vim)
    weights = [reference[1].layers[0].norm.weight, reference[1].layers[1].norm.weight, reference[1].norm_f.weight]
    first, second = [0.0] * 3, [0.0] * 3
    for batch in range(2):
        answers = peer(pixels(6, batch))
        for step in range(steps):
            logits = reference(pixels(6, batch))
            entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
            gradients = torch.autograd.grad(entropy, weights)
            adam_by_hand(weights, gradients, first, second, batch * steps + step + 1, 0.01)
        torch.testing.assert_close(answers, logits, rtol=1e-9, atol=1e-9)  # before the last step
    for (name, value), expected in zip(peer.model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9, msg=name)
    assert not torch.equal(peer.model[1].norm_f.weight, vim[1].norm_f.weight)
    assert torch.equal(peer.model[1].head.weight, vim[1].head.weight)


def test_entropy_falls_on_a_batch_seen_again(vim, pixels):
    peer = tent(vim, lr=0.01)
    entropies = [torch.distributions.Categorical(logits=peer(pixels(20))).entropy().mean() for _ in range(20)]
    assert entropies[-1] < entropies[0] - 0.05


def test_batch_norm_uses_the_batch_and_the_model_keeps_its_statistics(conv, pixels):
    kept = copy.deepcopy(conv.state_dict())
    peer, reference = tent(conv), copy.deepcopy(conv).train()
    torch.testing.assert_close(peer(pixels(6)), reference(pixels(6)), rtol=1e-12, atol=1e-12)
    assert all(torch.equal(value, kept[key]) for key, value in conv.state_dict().items())
    with peer.held():
        assert not torch.equal(peer(pixels(6)), peer(pixels(7))[:6])  # held, yet by the batch


def test_it_does_not_harm_under_a_brightness_shift(trained, accuracy):
    def brighter(images):
        return (images + 0.3).clamp(0, 1)

    assert accuracy(tent(trained), brighter) >= accuracy(trained, brighter) - 0.01
    assert accuracy(tent(trained)) >= accuracy(trained) - 0.01


@pytest.mark.parametrize(("settings", "words"), [({"lr": 0.0}, "got 0.0 and 1"), ({"steps": 0}, "got 0.001 and 0")])
def test_bad_settings_are_refused(vim, settings, words):
    with pytest.raises(ValueError, match=f"tent: lr must be above 0 and steps at least 1, {words}"):
        tent(vim, **settings)


def test_a_model_without_norm_layers_is_refused():
    with pytest.raises(ValueError, match="tent: it adapts the scale and shift of"):
        tent(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
