import torch
from torch import nn

from mamba_mender.stress.attacks import Attack
from mamba_mender.stress.attacks.probes import has_gradient, margins, noise_margins


def test_margins_by_hand():
    images = torch.tensor([[0.1, 0.7, 0.4], [0.9, 0.2, 0.2]]).view(2, 1, 1, 3)
    found = margins(nn.Flatten(), images, torch.tensor([1, 2]), batch_size=1)
    torch.testing.assert_close(found, torch.tensor([0.3, -0.7]))


def test_noise_is_as_large_as_the_attack_and_least_over_draws(linear):
    model, images, labels, w, margin = linear()
    random = torch.get_rng_state()
    for norm, dual in (("linf", 1), ("l2", 2)):
        found = noise_margins(model, images, labels, Attack("pgd", norm=norm, eps=0.1), draws=50, batch_size=5)
        fall = (margin - found) / (0.1 * w.norm(dual))
        assert (fall >= 0).all()
        assert (fall <= 1 + 1e-4).all()
        assert fall.max() > 0.3
    assert torch.equal(torch.get_rng_state(), random)


def test_a_saturated_loss_has_no_gradient(digits, models):
    class Scaled(nn.Module):
        def forward(self, images):
            return 1e4 * net(images)

    net, images, labels = digits
    assert has_gradient(net, images, labels, batch_size=25).all()
    right = net(images).argmax(1) == labels
    assert not has_gradient(Scaled(), images, labels, batch_size=25)[right].any()
    assert has_gradient(models["quantised"](net), images, labels, batch_size=25).all()
