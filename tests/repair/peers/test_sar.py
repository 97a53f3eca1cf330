import copy
import math

import pytest
import torch
from torch import nn

from mamba_mender.repair.peers import sar

LIMIT = 0.6 * math.log(4)


def entropies(logits):
    return torch.distributions.Categorical(logits=logits).entropy()


def test_the_steps_are_those_written_out(vim, pixels):
    peer = sar(vim, lr=0.2, margin=0.6, radius=0.5, recovery=0.0)
    reference = copy.deepcopy(vim)
    weight = reference[1].layers[0].norm.weight  # of three norm layers a quarter, rounded up, is left alone at the top
    second = reference[1].layers[1].norm.weight
    average, speed, counts = None, [0.0, 0.0], []
    for seed in range(4):
        answers, logits = peer(pixels(16, seed)), reference(pixels(16, seed))
        torch.testing.assert_close(answers, logits)
        first = [i for i in range(16) if entropies(logits)[i] < LIMIT]
        uphill = torch.autograd.grad(entropies(logits)[first].mean(), [weight, second])
        length = math.sqrt(sum(g.square().sum().item() for g in uphill))
        here = [weight.detach().clone(), second.detach().clone()]
        for value, gradient in zip((weight, second), uphill, strict=True):
            value.data += 0.5 * gradient / length
        there = entropies(reference(pixels(16, seed)))
        both = [i for i in first if there[i] < LIMIT]
        loss = there[both].mean()
        downhill = torch.autograd.grad(loss, [weight, second])
        for i, (value, start) in enumerate(zip((weight, second), here, strict=True)):
            speed[i] = 0.9 * speed[i] + downhill[i]
            value.data = start - 0.2 * 16 / 64 * speed[i]
        average = loss.item() if average is None else 0.9 * average + 0.1 * loss.item()
        counts.append((len(first), len(both)))
    assert any(0 < both < first < 16 for first, both in counts)  # both filters were at work
    assert peer._average == pytest.approx(average)
    for (name, found), expected in zip(peer.model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(found, expected, msg=name)
    assert torch.equal(peer.model[1].norm_f.weight, vim[1].norm_f.weight)
    assert not torch.equal(peer.model[1].layers[1].norm.weight, vim[1].layers[1].norm.weight)


def test_the_second_look_is_a_radius_away(vim, pixels):
    peer = sar(vim, radius=0.07, margin=0.9, recovery=0.0)
    seen = []
    norms = [peer.model[1].layers[0].norm, peer.model[1].layers[1].norm]
    peer.model.register_forward_hook(lambda *_: seen.append(torch.cat([norm.weight.detach() for norm in norms])))
    peer(pixels(8))
    assert len(seen) == 2
    assert (seen[1] - seen[0]).norm().item() == pytest.approx(0.07)
    assert (torch.cat([norm.weight.detach() for norm in norms]) - seen[0]).norm().item() < 0.01  # it came back


def test_a_failing_second_look_leaves_the_parameters(vim, pixels):
    peer = sar(vim, margin=0.9)
    calls = []

    def fail(*_):
        calls.append(0)
        if len(calls) == 2:
            raise ZeroDivisionError

    peer.model.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        peer(pixels(8))
    for found, first in zip(peer.model.parameters(), vim.parameters(), strict=True):
        assert torch.equal(found, first)


def test_a_collapse_is_recovered_from(vim, pixels):
    vim[1].head.weight.data.mul_(30)  # all answers are sure
    peer = sar(vim, lr=0.5, recovery=0.2)
    peer(pixels(16))
    assert peer._average is None
    for found, first in zip(peer.model.parameters(), vim.parameters(), strict=True):
        assert torch.equal(found, first)
    brave = sar(vim, lr=0.5, recovery=0.0)
    brave(pixels(16))
    assert 0 < brave._average < 0.2


def test_unreliable_images_change_nothing(vim, pixels):
    vim[1].head.weight.data.mul_(1e-3)
    peer = sar(vim)
    peer(pixels(10))
    assert peer._average is None
    for found, first in zip(peer.model.parameters(), vim.parameters(), strict=True):
        assert torch.equal(found, first)


def test_none_still_reliable_after_the_uphill_step_changes_nothing(vim, pixels):
    peer = sar(vim, radius=50.0, margin=0.05, lr=1.0)
    with torch.no_grad():
        limit = entropies(vim(pixels(40))).min().item() / math.log(4) * 1.0001
    peer.margin = limit  # one image is reliable, by little
    peer(pixels(40))
    assert peer._average is None
    for found, first in zip(peer.model.parameters(), vim.parameters(), strict=True):
        assert torch.equal(found, first)


def test_the_rate_grows_with_the_batch_up_to_the_authors(vim, pixels):
    def moved(count):
        peer = sar(vim, margin=1.0, recovery=0.0)
        peer(pixels(1).expand(count, -1, -1, -1))
        return peer.model[1].layers[0].norm.weight - vim[1].layers[0].norm.weight

    torch.testing.assert_close(moved(32), moved(64) / 2)
    torch.testing.assert_close(moved(128), moved(64))


def test_it_does_not_harm_on_clean_and_brighter_images(trained, accuracy):
    def brighter(images):
        return (images + 0.3).clamp(0, 1)

    peer = sar(trained)
    assert accuracy(peer) >= accuracy(trained) - 0.01
    peer.reset()
    assert accuracy(peer, brighter) >= accuracy(trained, brighter) - 0.01


@pytest.mark.parametrize("settings", [{"lr": 0.0}, {"radius": 0.0}, {"margin": 0.0}, {"recovery": -1.0}, {"top": 1.0}])
def test_bad_settings_are_refused(vim, settings):
    with pytest.raises(ValueError, match="sar: lr, margin and radius must be above 0, recovery at least 0, top at"):
        sar(vim, **settings)


def test_a_model_without_norm_layers_is_refused():
    with pytest.raises(ValueError, match="sar: it adapts the scale and shift of"):
        sar(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
