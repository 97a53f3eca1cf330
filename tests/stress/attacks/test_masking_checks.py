import pytest
import torch
from torch import nn

from mamba_mender._check import UserError
from mamba_mender.stress.attacks import Attack, masking_checks

PGD = Attack("pgd", eps=0.12, steps=10)


class Defence(nn.Module):
    """A model behind something that hides its gradient."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner


class Saturated(Defence):
    def forward(self, images):
        return 1e4 * self.inner(images)


class Rounded(Defence):
    def forward(self, images):
        return self.inner(images).round()


class Detached(Defence):
    def forward(self, images):
        return self.inner(images.detach())


class Reversed(Defence):
    def forward(self, images):
        return self.inner(2 * images.detach() - images)


class Gated(Defence):
    """Gives its gradient only at images of whole shades, where an attack begins and never comes back to."""

    def forward(self, images):
        shades = images * 16
        whole = (shades - shades.round()).abs().flatten(1).amax(1) < 1e-4
        return self.inner(torch.where(whole.view(-1, 1, 1, 1), images, images.detach()))


class Shattered(Defence):
    def forward(self, images):
        return self.inner(images + 0.005 * torch.sin(1000 * images))


def check(model, images, labels, **settings):
    return masking_checks(model, images, labels, PGD, queries=150, **settings)


@pytest.mark.parametrize(
    ("defence", "caught_by"),
    [
        (Saturated, {"black box", "unbounded", "zero gradient", "more steps"}),
        (Rounded, {"black box", "unbounded", "zero gradient"}),
        (Detached, {"black box", "unbounded", "zero gradient", "more steps"}),
        (Reversed, {"black box", "unbounded", "noise", "more steps"}),
        (Gated, {"one step", "black box", "unbounded"}),
        (Shattered, {"black box"}),
    ],
)
def test_a_masked_gradient_is_refused(digits, defence, caught_by):
    net, images, labels = digits
    report = check(defence(net), images, labels)
    assert not report.trusted
    assert caught_by <= {one.name for one in report.failed}
    assert report.verdict().startswith("not to be trusted: ")


def test_an_ordinary_net_is_trusted(digits):
    net, images, labels = digits
    report = check(net, images, labels, source=net)
    assert report.trusted, report.verdict()
    assert [one.name for one in report.checks] == [
        "one step",
        "black box",
        "transfer",
        "noise",
        "unbounded",
        "more steps",
        "zero gradient",
    ]
    assert report.images == 60
    assert "nothing smells of masking: 7 checks on 60 images" in report.verdict()


def test_an_ordinary_net_is_trusted_in_l2(digits):
    net, images, labels = digits
    attack = Attack("pgd", norm="l2", eps=0.5, steps=10)
    report = masking_checks(net, images[:30], labels[:30], attack, queries=30, batch_size=15)
    assert report.trusted, report.verdict()


def test_images_of_the_bare_model_show_up_a_defence(digits):
    net, images, labels = digits
    report = check(Detached(net), images, labels, source=net)
    assert "transfer" in {one.name for one in report.failed}


def test_a_stand_in_makes_a_defence_that_is_not_smooth_fit_to_be_judged(digits, models):
    net, images, labels = digits
    assert check(models["quantised"](net, shades=32), images, labels).trusted


def test_it_learns_nothing(digits, models):
    net, images, labels = digits
    model = models["counting"](net)
    masking_checks(model, images[:8], labels[:8], PGD, queries=5)
    assert model.count == 0


@pytest.mark.parametrize("attack", [Attack("autoattack"), Attack("fgsm"), Attack("pgd", eps=0.0)])
def test_says_what_attack_it_needs(digits, attack):
    net, images, labels = digits
    with pytest.raises(UserError, match="masking_checks: the attack must be 'pgd' with an eps above 0, not"):
        masking_checks(net, images, labels, attack)
