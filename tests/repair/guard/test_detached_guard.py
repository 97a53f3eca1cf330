import copy

import pytest
import torch
from torch import nn

from mamba_mender.data import Normalise
from mamba_mender.repair import DetachedGuard
from mamba_mender.stress.attacks import Attack, adaptive_attack
from mamba_mender.stress.attacks.stand_in import stand_ins

WAYS = ["gradient", "stand-in", "constant statistics", "repair left out"]


@pytest.fixture
def on_pixels(guard, trained, digits):
    """The guarded model over pixels, having seen 200 noisy images; and 60 noisy images with their labels."""
    batch = digits.test.batch(torch.arange(260))
    noise = torch.randn(batch.images.shape, generator=torch.Generator().manual_seed(5))
    pixels = (batch.images + 0.4 * noise).clamp(0, 1)
    model = nn.Sequential(Normalise(digits.mean, digits.std), guard(copy.deepcopy(trained))).eval()
    with torch.no_grad():
        for part in pixels[:200].split(50):
            model(part)
    return model, pixels[200:], batch.labels[200:]


def gradient(model, pixels, labels):
    pixels = pixels.clone().requires_grad_()
    nn.functional.cross_entropy(model(pixels), labels, reduction="sum").backward()
    return pixels.grad


def test_it_answers_as_the_guarded_model_does_and_changes_nothing(on_pixels):
    model, pixels, _ = on_pixels
    guarded, images = model[1], model[0](pixels)
    before = {name: buffer.clone() for name, buffer in guarded.named_buffers()}
    with torch.no_grad(), guarded.held():
        expected = guarded(images)
        found = DetachedGuard(guarded)(images)
    assert guarded.last.flagged.sum() > 30
    torch.testing.assert_close(found, expected)
    for name, buffer in guarded.named_buffers():
        torch.testing.assert_close(buffer, before[name], rtol=0, atol=0, equal_nan=True)
    assert not any(site._forward_hooks or site._forward_pre_hooks for site in guarded.guards().values())


def test_no_gradient_reaches_one_sample_through_another(on_pixels):
    model, pixels, labels = on_pixels
    loss_of = {}
    for name, module in {"whole": model[1], "detached": DetachedGuard(model[1])}.items():
        images = model[0](pixels).requires_grad_()
        with model[1].held():
            loss = nn.functional.cross_entropy(module(images)[:1], labels[:1])
        loss_of[name] = torch.autograd.grad(loss, images)[0].flatten(1).norm(dim=1)
    assert loss_of["detached"][0] > 0
    assert (loss_of["detached"][1:] == 0).all()
    assert (loss_of["whole"][1:] > 0).any()


def test_where_nothing_is_repaired_the_gradient_is_the_bare_models(guard, trained, digits):
    batch = digits.test.batch(torch.arange(20))
    images = Normalise(digits.mean, digits.std)(batch.images)
    guarded = guard(trained)
    ours = gradient(DetachedGuard(guarded), images, batch.labels)
    assert torch.equal(ours, gradient(trained, images, batch.labels))


def test_a_guarded_model_over_pixels_offers_three_stand_ins(on_pixels):
    model, pixels, _ = on_pixels
    found = stand_ins(model)
    assert list(found) == WAYS[1:]
    assert all(module[0] is model[0] and module(pixels).shape == (60, 10) for module in found.values())


@pytest.mark.parametrize("text", ["pgd-5", "autoattack-2"])
@pytest.mark.parametrize("learn", [False, True])
def test_what_is_reported_is_at_most_what_each_way_leaves(on_pixels, text, learn):
    model, pixels, labels = on_pixels
    outcome = adaptive_attack(model, pixels, labels, Attack.parse(text, eps=0.1, context=10), learn=learn)
    assert list(outcome.ways) == WAYS
    assert all(outcome.correct.sum() <= left.sum() <= 60 for left in outcome.ways.values())
    assert outcome.way_accuracies == {name: left.double().mean().item() for name, left in outcome.ways.items()}
    if text == "pgd-5":
        assert len({tuple(left.tolist()) for left in outcome.ways.values()}) > 1
        assert outcome.figures["gradients"] == 20
