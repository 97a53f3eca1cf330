import pytest
from torch import nn

from mamba_mender.stress.attacks import Attack, adaptive_attack, run_attack

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
