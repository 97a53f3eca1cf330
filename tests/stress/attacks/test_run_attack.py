import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mamba_mender._check import UserError
from mamba_mender.stress.attacks import Attack, batch_attack, run_attack
from mamba_mender.stress.attacks.budget import change

DUAL = {"linf": 1, "l2": 2}


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["fgsm", "pgd-40"])
def test_a_linear_models_margin_falls_by_eps_times_the_dual_norm(linear, norm, name):
    model, images, labels, w, margin = linear()
    eps = 0.2
    outcome = run_attack(model, images, labels, Attack.parse(name, norm=norm, eps=eps))
    logits = model(outcome.adversarial)
    left = logits.gather(1, labels[:, None])[:, 0] - logits.gather(1, 1 - labels[:, None])[:, 0]
    torch.testing.assert_close(margin - left, eps * w.norm(DUAL[norm]).expand(len(images)), rtol=1e-5, atol=1e-4)
    assert torch.equal(outcome.correct, left > 0)


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_at_the_border_each_pixel_moves_as_far_as_it_may(linear, name):
    model, images, labels, w, margin = linear(low=0.0, high=1.0)
    direction = torch.where(labels[:, None] == 0, -w, w).sign()
    room = torch.where(direction > 0, 1 - images.flatten(1), images.flatten(1)).clamp_max(0.3)
    outcome = run_attack(model, images, labels, Attack(name, eps=0.3))
    logits = model(outcome.adversarial)
    left = (logits[:, 0] - logits[:, 1]) * torch.where(labels == 0, 1, -1)
    torch.testing.assert_close(margin - left, (room * w.abs()).sum(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "over"), [("deepfool", 0.03), ("deepfool-l2", 0.03), ("cw-60", 0.05), ("autoattack-10", None)]
)
def test_the_least_change_of_a_linear_model_is_margin_by_dual_norm(linear, text, over):
    model, images, labels, w, margin = linear()
    least = margin / w.norm(DUAL[Attack.parse(text).norm])
    attack = Attack.parse(text, eps=least.median().item())
    outcome = run_attack(model, images, labels, attack)
    clear = (least - attack.eps).abs() > 0.02 * attack.eps
    assert torch.equal(outcome.correct[clear], (least > attack.eps)[clear])
    assert 0 < outcome.correct.sum() < len(labels)
    assert (outcome.distance >= least - 1e-5).all()
    if over is not None:
        within = least < 0.25  # a border of [0, 1] may be nearer than what lies further
        assert (outcome.distance[within] <= (1 + over) * least[within] + 1e-3).all()


@given(
    seed=st.integers(0, 99),
    text=st.sampled_from(["fgsm", "pgd-3x2", "deepfool-5", "cw-5", "square-20", "fgsm-l2", "pgd-l2-3", "square-l2-9"]),
    eps=st.sampled_from([0.0, 8 / 255, 0.3, 1.0]),
)
def test_the_budget_is_never_exceeded(seed, text, eps):
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 1, 5, 5, generator=draw)
    model = nn.Sequential(nn.Flatten(), nn.Linear(25, 6), nn.Tanh(), nn.Linear(6, 3))
    attack = Attack.parse(text, eps=eps)
    outcome = run_attack(model, images, torch.randint(3, (3,), generator=draw), attack)
    assert (change(images, outcome.adversarial, attack.norm) <= eps + 2e-6).all()
    assert outcome.adversarial.min() >= 0
    assert outcome.adversarial.max() <= 1
    found = outcome.distance <= eps
    assert torch.equal(found, ~outcome.correct)


def test_an_attack_that_cheats_is_refused(digits, monkeypatch):
    net, images, labels = digits
    monkeypatch.setattr(batch_attack, "gradient_attack", lambda view, images, *_, **__: (images + 0.2).clamp(0, 1))
    with pytest.raises(RuntimeError, match=r"run_attack \(pgd-linf-20x1\): .* more than eps=0.1"):
        run_attack(net, images, labels, Attack("pgd", eps=0.1))


def test_an_image_that_is_wrong_already_counts_as_wrong(digits):
    net, images, labels = digits
    wrong = (labels + 1) % 10
    outcome = run_attack(net, images, wrong, Attack("pgd", eps=0.3))
    already = net(images).argmax(1) != wrong
    assert not outcome.correct[already].any()
    assert (outcome.distance[already] == 0).all()
    assert outcome.figures["clean_accuracy"] == pytest.approx((~already).double().mean().item())


def test_logits_that_are_not_finite_are_wrong(digits):
    class Broken(nn.Module):
        def forward(self, images):
            return torch.full((len(images), 10), torch.nan) + 0 * images.sum()

    _, images, labels = digits
    assert not run_attack(Broken(), images, labels * 0, Attack("fgsm")).correct.any()


def test_stronger_attacks_leave_less_right(digits):
    net, images, labels = digits
    left = {
        text: run_attack(net, images[:30], labels[:30], Attack.parse(text, eps=0.12)).correct.sum().item()
        for text in ("fgsm", "pgd", "pgd-40x3", "autoattack-10")
    }
    assert left["autoattack-10"] <= left["pgd-40x3"] <= left["pgd"] <= left["fgsm"] < 30


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_autoattack_takes_few_classes(classes, norm):
    model = nn.Sequential(nn.Flatten(), nn.Linear(25, classes))
    images = torch.rand(6, 1, 5, 5)
    labels = model(images).argmax(1)
    outcome = run_attack(model, images, labels, Attack.parse(f"autoattack-{norm}-5", eps=1.0))
    assert not outcome.correct.any()
    assert outcome.notes == ()


def test_autoattacks_warnings_become_notes(models, digits, capfd):
    class Shaken(nn.Module):
        def forward(self, images):
            return net(images) + 0.3 * torch.randn(len(images), 10)

    net, images, labels = digits
    outcome = run_attack(Shaken(), images[:4], labels[:4], Attack("autoattack", steps=2, eps=0.1))
    assert "randomized defense" in outcome.notes[0]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["fgsm", "pgd-3", "cw-3", "deepfool-3", "autoattack-1", "square-9"])
def test_the_attacker_changes_nothing_that_is_learned(models, digits, text):
    net, images, labels = digits
    model = nn.Sequential(nn.Identity(), models["counting"](net))
    run_attack(model, images[:9], labels[:9], Attack.parse(text))
    assert model[1].count == 0
    run_attack(model, images[:9], labels[:9], Attack.parse(text), learn=True)
    assert model[1].count == 9


def test_nothing_else_is_changed(digits):
    net, images, labels = digits
    net.train()
    before, random, trace = images.clone(), torch.get_rng_state(), sys.gettrace()
    for text in ("pgd-2", "cw-2", "deepfool-2", "autoattack-1", "square-5"):
        run_attack(net, images[:5], labels[:5], Attack.parse(text))
    assert net.training
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), random)
    assert sys.gettrace() is trace
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in net.parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())
    net.eval()


def test_a_seed_says_it_all_and_restarts_differ(digits):
    net, images, labels = digits
    once, again, other = (
        run_attack(net, images, labels, Attack("pgd", steps=2, eps=0.2, seed=seed)).adversarial for seed in (1, 1, 2)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_restarts_keep_the_worst_of_each_image(digits):
    net, images, labels = digits
    runs = [run_attack(net, images, labels, Attack("pgd", steps=1, eps=0.1, seed=seed)).correct for seed in range(4)]
    best = run_attack(net, images, labels, Attack("pgd", steps=1, eps=0.1, restarts=4))
    assert torch.equal(best.correct, torch.stack(runs).all(0))
    assert best.correct.sum() < max(run.sum() for run in runs)
    assert best.figures["gradients"] == 4


def test_images_are_made_on_the_source_and_judged_on_the_model(digits):
    net, images, labels = digits
    outcome = run_attack(nn.Sequential(net, nn.Identity()), images, labels, Attack("transfer", eps=0.15), source=net)
    direct = run_attack(net, images, labels, Attack("pgd", eps=0.15))
    assert torch.equal(outcome.adversarial, direct.adversarial)
    unlike = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert run_attack(net, images, labels, Attack("pgd", eps=0.15), source=unlike).correct.sum() > direct.correct.sum()


@pytest.mark.parametrize("first", [0, 1])
def test_the_gradient_goes_through_the_statistics_of_the_batch(first):
    class Mean(nn.Module):
        def forward(self, images):
            first = images.mean(0).sum().expand(len(images))
            return torch.stack([first, 0.9 * torch.ones_like(first)], 1)

    images = torch.full((4, 1, 1, 2), 0.5)
    labels = torch.tensor([first, 0, 0, 0])
    outcome = run_attack(Mean(), images, labels, Attack("fgsm", eps=0.06))
    torch.testing.assert_close(outcome.adversarial, images - 0.06)
    assert not outcome.correct.any()  # the first is wrong before, right after: it stays wrong


def test_the_verdict_on_a_joint_model_is_of_the_batch_that_is_returned(models, digits):
    net, images, _ = digits
    model = models["centred"](nn.Sequential(net, nn.Identity()))
    right = model(images).argmax(1)
    for text in ("pgd-5x3", "autoattack-2", "deepfool-5"):
        outcome = run_attack(model, images, right, Attack.parse(text, eps=0.15))
        assert torch.equal(outcome.correct, model(outcome.adversarial).argmax(1) == right)
        assert outcome.correct.sum() < len(right)


def test_batches_are_attacked_one_by_one(digits):
    net, images, labels = digits
    whole = run_attack(net, images, labels, Attack("fgsm", eps=0.1))
    parts = run_attack(net, images, labels, Attack("fgsm", eps=0.1), batch_size=25)
    torch.testing.assert_close(parts.adversarial, whole.adversarial)
    assert parts.figures == pytest.approx(whole.figures)


def test_it_runs_where_gradients_are_off(digits):
    net, images, labels = digits
    expected = run_attack(net, images, labels, Attack("pgd", steps=2, eps=0.1)).correct
    with torch.no_grad():
        assert torch.equal(run_attack(net, images, labels, Attack("pgd", steps=2, eps=0.1)).correct, expected)
    with torch.inference_mode():
        assert torch.equal(run_attack(net, images + 0, labels, Attack("pgd", steps=2, eps=0.1)).correct, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.rand(2, 4, 4)}, r"run_attack: images must be \(images, channels, height, width\)"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "labels has images=3"),
        ({"labels": torch.zeros(2)}, "labels must be int64, not torch.float32; convert them with .long()"),
        ({"labels": torch.tensor([0, 7])}, "the labels go up to 7, but the model has 2 classes"),
        (
            {"images": torch.rand(2, 1, 4, 4) + 1},
            r"images must be float32 pixels in \[0, 1\], got .*put the normalisation",
        ),
        ({"images": torch.rand(2, 1, 4, 4).double()}, "got torch.float64 from"),
        ({"images": torch.full((2, 1, 4, 4), torch.nan)}, "from nan to nan"),
        (
            {"images": torch.rand(0, 1, 4, 4), "labels": torch.zeros(0, dtype=torch.long)},
            "there are no images to attack",
        ),
        ({"attack": Attack("transfer")}, "'transfer' makes its images on another model; pass it as source"),
        ({"attack": Attack("square", norm="l2")}, "'square' in L2 needs images of at least 5 x 5 pixels"),
        ({"attack": Attack("autoattack", norm="l2")}, "'autoattack' in L2 needs images of at least 5 x 5 pixels"),
        ({"model": nn.Identity()}, r"the model must give logits, .* for 2 images it gives shape \(2, 1, 4, 4\)"),
    ],
)
def test_says_what_is_wrong(changes, message):
    arguments = {
        "model": nn.Sequential(nn.Flatten(), nn.Linear(16, 2)),
        "images": torch.rand(2, 1, 4, 4),
        "labels": torch.zeros(2, dtype=torch.long),
        "attack": Attack("fgsm"),
    } | changes
    kind = ValueError if "must be (" in message.replace("\\", "") or "has images" in message else UserError
    with pytest.raises(kind, match=message):
        run_attack(**arguments)
