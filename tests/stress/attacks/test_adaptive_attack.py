from dataclasses import replace

import pytest
import torch
from torch import nn

from mamba_mender.stress.attacks import Attack, AttackOutcome, adaptive_attack, batch_attack, run_attack

EPS = 0.15


def test_the_stand_in_finds_what_the_models_own_gradient_cannot(models, digits):
    net, images, labels = digits
    model = models["quantised"](net)
    plain = run_attack(model, images, labels, Attack("pgd", eps=EPS))
    bpda = run_attack(model, images, labels, Attack("pgd", eps=EPS, bpda=True))
    assert plain.correct.sum() >= 50
    assert bpda.correct.sum() <= 25
    both = adaptive_attack(nn.Sequential(model), images, labels, Attack("pgd", eps=EPS))
    assert both.correct.sum() <= min(plain.correct.sum(), bpda.correct.sum())
    assert both.figures["gradients"] == 40


def test_averaging_finds_what_one_random_gradient_cannot(models, digits):
    net, images, labels = digits
    model = models["random"](net)
    plain = run_attack(model, images, labels, Attack("pgd", eps=EPS, steps=10))
    averaged = run_attack(model, images, labels, Attack("pgd", eps=EPS, steps=10, eot=32))
    assert averaged.correct.sum() <= plain.correct.sum() - 10
    both = adaptive_attack(model, images, labels, Attack("pgd", eps=EPS, steps=10))
    assert both.correct.sum() < plain.correct.sum()
    assert both.figures["gradients"] == 10 + 80


def test_on_a_plain_model_it_is_the_attack_itself(digits):
    net, images, labels = digits
    plain = run_attack(net, images, labels, Attack("pgd", eps=EPS))
    both = adaptive_attack(net, images, labels, Attack("pgd", eps=EPS))
    assert both.figures == pytest.approx(plain.figures)
    assert both.attack.label == "pgd-linf-20x1-adaptive"


def test_the_last_pass_may_learn(models, digits):
    net, images, labels = digits
    model = models["counting"](models["quantised"](net))
    adaptive_attack(model, images, labels, Attack("fgsm"), learn=True, batch_size=40)
    assert model.count == 60


def test_each_way_is_told_apart_and_none_leaves_less_than_what_is_reported(models, digits):
    net, images, labels = digits
    both = adaptive_attack(models["quantised"](net), images, labels, Attack("pgd", eps=EPS))
    assert list(both.ways) == ["gradient", "stand-in"]
    assert both.ways["gradient"].sum() >= 50
    assert both.correct.sum() <= both.ways["stand-in"].sum() <= 25
    assert adaptive_attack(net, images, labels, Attack("pgd", eps=0.0)).ways == {}


def test_autoattack_goes_on_with_what_is_still_right_and_asks_square_once(models, digits, monkeypatch):
    net, images, labels = digits
    asked = []

    def ensemble(view, images, labels, attack, *, square, **_):
        asked.append((len(images), square))
        made = images.clone()
        made[:1] = (images[:1] + torch.sign(0.5 - images[:1]) * attack.eps).clamp(0, 1)
        return made, ()

    monkeypatch.setattr(batch_attack, "auto_attack", ensemble)
    model = models["quantised"](net)
    right = int((model(images).argmax(1) == labels).sum())
    outcome = adaptive_attack(model, images, labels, Attack("autoattack", eps=0.9))
    fallen = right - int(outcome.ways["gradient"].sum())
    assert asked == [(right, True), (right - fallen, False)]
    assert fallen == 1


def test_batches_that_needed_another_way_are_joined_with_those_that_did_not(digits):
    net, images, labels = digits
    whole = run_attack(net, images, labels, Attack("fgsm", eps=EPS))
    averaged = replace(whole, ways={**whole.ways, "gradient, averaged": torch.zeros(60, dtype=torch.bool)})
    joined = AttackOutcome.join([whole, averaged])
    assert torch.equal(joined.ways["gradient"], whole.correct.repeat(2))
    assert joined.ways["gradient, averaged"].sum() == whole.correct.sum()
