import torch
import torch.nn.functional as F
from torch import nn

from mamba_mender.stress.attacks.attack_view import AttackView


def test_the_gradient_is_the_models_and_stops_at_the_images(digits):
    net, images, labels = digits
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    view = AttackView(net)
    F.cross_entropy(view(ours), labels, reduction="sum").backward()
    (expected,) = torch.autograd.grad(F.cross_entropy(net(theirs), labels, reduction="sum"), theirs)
    torch.testing.assert_close(ours.grad, expected)
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in net.parameters())
    assert (view.queries, view.gradients) == (60, 60)


def test_a_model_without_gradient_gives_zeros():
    for model in (nn.Sequential(nn.Flatten(), nn.Threshold(2.0, 0.0)), Cut()):
        images = torch.rand(2, 1, 1, 3, requires_grad=True)
        AttackView(model)(images).sum().backward()
        assert not images.grad.any()


def test_a_gradient_that_is_not_finite_gives_zeros():
    images = torch.zeros(2, 1, 1, 3, requires_grad=True)
    AttackView(Root())(images).sum().backward()
    assert torch.equal(images.grad, torch.zeros_like(images))


def test_logits_are_the_models_and_the_gradient_its_stand_ins():
    images = torch.rand(2, 1, 1, 3, requires_grad=True)
    logits = AttackView(nn.Sequential(nn.Flatten(), nn.Threshold(2.0, 7.0)), surrogate=nn.Flatten())(images)
    logits.sum().backward()
    assert (logits == 7).all()
    assert (images.grad == 1).all()


def test_an_attack_may_write_into_the_logits():
    images = torch.rand(2, 1, 1, 3)
    with torch.no_grad():
        AttackView(nn.Flatten())(images).fill_(9.0)
    assert images.max() < 1


def test_means_over_passes_approach_the_expectation():
    images = torch.zeros(1, 1, 1, 2000)
    one, many = (AttackView(Noisy(), samples=samples)(images).std().item() for samples in (1, 64))
    assert abs(one - 1) < 0.1
    assert abs(many - 1 / 8) < 0.02


def test_some_images_of_a_joint_batch_are_seen_among_all(models):
    model = models["centred"](nn.Flatten())
    batch = torch.rand(6, 1, 2, 2)
    view = AttackView(model, batch=batch)
    changed = batch + 0.01
    torch.testing.assert_close(view(changed), model(changed))
    torch.testing.assert_close(view(changed[[1, 4]]), model(changed)[[1, 4]])
    torch.testing.assert_close(view(batch[[1]]), model(torch.cat([changed[:1], batch[[1]], changed[2:]]))[[1]])


def test_a_few_others_may_stand_for_all(models):
    batch = torch.rand(6, 1, 1, 2)
    view = AttackView(models["centred"](nn.Flatten()), batch=batch, context=2)
    flat = batch.flatten(1)
    torch.testing.assert_close(view(batch[[4, 1]]), flat[[4, 1]] - flat[[0, 1, 4, 5]].mean(0))
    torch.testing.assert_close(view(batch), flat - flat.mean(0))


def test_the_gradient_goes_through_the_statistics_of_a_joint_batch(models):
    model = models["centred"](nn.Flatten())
    images = torch.rand(5, 1, 1, 2)
    part = images[:2].clone().requires_grad_()
    AttackView(model, batch=images)(part).sum().backward()
    torch.testing.assert_close(part.grad, torch.full_like(part, 1 - 2 / 5))


def test_two_images_alike_are_two_rows(models):
    view = AttackView(models["centred"](nn.Flatten()), batch=torch.zeros(3, 1, 1, 2))
    assert view(torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])).shape == (2, 2)
    assert view.seen.sum() == 2


class Cut(nn.Module):
    def forward(self, images):
        return images.detach().flatten(1)


class Root(nn.Module):
    def forward(self, images):
        return images.sqrt().flatten(1)


class Noisy(nn.Module):
    def forward(self, images):
        return images.flatten(1) + torch.randn(images[0].numel())
