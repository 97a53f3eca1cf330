import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mamba_mender.repair.peers import eata

LIMIT = 0.6 * math.log(4)


def norm_weights(model):
    return [model[1].layers[0].norm.weight, model[1].layers[1].norm.weight, model[1].norm_f.weight]


def fisher_by_hand(model, source):
    """Square the gradients of each batch of the shuffled source, with the model's answers as labels."""
    order = torch.randperm(70, generator=torch.Generator().manual_seed(0))
    squares = [0.0, 0.0, 0.0]
    for rows in (order[:35], order[35:]):
        logits = model(source.batch(rows).images.double())
        gradients = torch.autograd.grad(F.cross_entropy(logits, logits.argmax(1)), norm_weights(model))
        squares = [square + gradient**2 / 2 for square, gradient in zip(squares, gradients, strict=True)]
    return squares


@pytest.mark.parametrize("fisher_weight", [0.0, 40.0])
def test_the_steps_are_those_written_out_image_by_image(vim, pixels, source, fisher_weight):
    peer = eata(vim, source, lr=0.05, margin=0.6, similarity=0.8, fisher_weight=fisher_weight)
    reference, start = copy.deepcopy(vim), [weight.detach().clone() for weight in norm_weights(vim)]
    fisher = fisher_by_hand(reference, source)
    average, speed, taken = None, [0.0] * 3, []
    for seed in range(4):
        answers, logits = peer(pixels(16, seed)), reference(pixels(16, seed))
        torch.testing.assert_close(answers, logits)
        chosen = []
        for row in logits:
            p = row.softmax(0)
            entropy = -(p * p.log()).sum()
            similar = 0.0 if average is None else (average @ p / average.norm() / p.norm()).item()
            if entropy < LIMIT and abs(similar) < 0.8:
                chosen.append((math.exp(LIMIT - entropy.item()) * entropy, p.detach()))
        taken.append(len(chosen))
        mean = torch.stack([p for _, p in chosen]).mean(0)
        average = mean if average is None else 0.9 * average + 0.1 * mean
        loss = torch.stack([loss for loss, _ in chosen]).mean()
        for f, weight, first in zip(fisher, norm_weights(reference), start, strict=True):
            loss = loss + fisher_weight * (f * (weight - first) ** 2).sum()
        for i, gradient in enumerate(torch.autograd.grad(loss, norm_weights(reference))):
            speed[i] = 0.9 * speed[i] + gradient
            norm_weights(reference)[i].data -= 0.05 * 16 / 64 * speed[i]
    assert 0 < min(taken) < max(taken) < 16  # both filters were at work
    for found, expected, first in zip(norm_weights(peer.model), norm_weights(reference), start, strict=True):
        torch.testing.assert_close(found, expected)
        assert (found - first).abs().max() > 1e-4


def test_the_penalty_holds_the_parameters_back(vim, pixels, source):
    moved = []
    for fisher_weight in (0.0, 200.0):
        peer = eata(vim, source, lr=0.05, margin=0.9, similarity=0.99, fisher_weight=fisher_weight)
        for _ in range(15):
            peer(pixels(32))
        pairs = zip(fisher_by_hand(vim, source), norm_weights(peer.model), norm_weights(vim), strict=True)
        moved.append(sum((f * (found - first) ** 2).sum().item() for f, found, first in pairs))
    assert moved[1] < 0.2 * moved[0]


def test_unreliable_images_change_nothing(vim, pixels):
    vim[1].head.weight.data.mul_(1e-3)  # all answers are even
    peer = eata(vim, margin=0.4, similarity=0.9, fisher_weight=0.0)
    for seed in range(3):
        peer(pixels(10, seed))
    assert peer._average is None
    for found, first in zip(norm_weights(peer.model), norm_weights(vim), strict=True):
        assert torch.equal(found, first)


def test_a_reset_forgets_the_average_answer(vim, pixels):
    """All images are alike, so that none is taken after the first batch, but for a reset."""
    peer = eata(vim, lr=0.5, margin=1.0, similarity=0.99, fisher_weight=0.0)
    images = pixels(1).expand(4, -1, -1, -1)
    peer(images)
    moved = norm_weights(peer.model)[2].clone()
    peer.reset()
    peer(images)
    assert torch.equal(norm_weights(peer.model)[2], moved)
    assert not torch.equal(moved, norm_weights(vim)[2])


def test_the_rate_grows_with_the_batch_up_to_the_authors(vim, pixels):
    def moved(count):
        peer = eata(vim, margin=1.0, similarity=1.0, fisher_weight=0.0)
        peer(pixels(1).expand(count, -1, -1, -1))
        return norm_weights(peer.model)[2] - norm_weights(vim)[2]

    torch.testing.assert_close(moved(32), moved(64) / 2)
    torch.testing.assert_close(moved(128), moved(64))


def test_it_does_not_harm_on_clean_and_brighter_images(trained, digits, accuracy):
    def brighter(images):
        return (images + 0.3).clamp(0, 1)

    peer = eata(trained, digits.train)
    assert accuracy(peer) >= accuracy(trained) - 0.01
    peer.reset()
    assert accuracy(peer, brighter) >= accuracy(trained, brighter) - 0.01


def test_a_similarity_that_lets_nothing_through_is_refused(vim, pixels):
    peer = eata(vim, fisher_weight=0.0)
    with pytest.raises(ValueError, match=r"eata: similarity=0.4 .* with 4 classes, .* is 0.50 similar .* a greater"):
        peer(pixels(2))


@pytest.mark.parametrize("settings", [{"lr": 0.0}, {"margin": 0.0}, {"similarity": 1.5}, {"fisher_weight": -1.0}])
def test_bad_settings_are_refused(vim, settings):
    with pytest.raises(ValueError, match="eata: lr and margin must be above 0, similarity above 0 and at most 1"):
        eata(vim, **settings)


def test_a_missing_or_empty_source_and_missing_norms_are_refused(vim, source):
    for nothing in (None, source.subset(torch.tensor([], dtype=torch.long))):
        with pytest.raises(ValueError, match=r"eata: the Fisher penalty .*; give source=, or fisher_weight=0"):
            eata(vim, nothing)
    with pytest.raises(ValueError, match="eata: it adapts the scale and shift of"):
        eata(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
