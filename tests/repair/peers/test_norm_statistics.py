import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mamba_mender.nn import RMSNorm
from mamba_mender.repair.peers import norm_statistics
from mamba_mender.repair.peers.norm_layers import norm_layers
from mamba_mender.repair.peers.norm_statistics import Realign, source_moments


class Shifted(nn.Module):
    """Patches with a shift of their own per channel, then norms of each kind."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 6, 2, stride=2)
        self.scale, self.shift = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))
        self.norms = nn.Sequential(RMSNorm(6), nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 6))
        self.group, self.head = nn.GroupNorm(2, 6), nn.Linear(6, 4)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).mT * self.scale + self.shift
        return self.head(self.group(self.norms(tokens).mT).mean(2))


@given(
    seed=st.integers(0, 999),
    count=st.integers(1, 9),
    prior=st.sampled_from([0.0, 1.0, 16.0, 300.0]),
    places=st.integers(2, 3),
)
def test_batch_norm_is_the_published_adaptation(seed, count, prior, places):
    generator = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm2d(3).double()
    norm.running_mean.normal_(generator=generator)
    norm.running_var.uniform_(0.2, 3, generator=generator)
    nn.init.normal_(norm.weight, generator=generator)
    x = 1 + 2 * torch.randn(count, 3, places, 2, dtype=torch.float64, generator=generator)
    share = prior / (prior + count)
    mean = share * norm.running_mean + (1 - share) * x.mean((0, 2, 3))
    variance = share * norm.running_var + (1 - share) * x.var((0, 2, 3), correction=0)
    expected = nn.functional.batch_norm(x, mean, variance, norm.weight, norm.bias, eps=norm.eps)
    torch.testing.assert_close(norm_statistics(nn.Sequential(norm), prior=prior)(x), expected)


def test_a_planted_shift_per_channel_is_undone(source):
    model = Shifted().double()
    healthy = model(source.batch(torch.arange(70)).images.double())
    peer = norm_statistics(model, source, prior=0.0, batch_size=32)
    images = source.batch(torch.arange(70)).images.double()
    torch.testing.assert_close(peer(images), healthy)
    generator = torch.Generator().manual_seed(1)
    for module in (model, peer.model):
        generator.manual_seed(1)
        module.scale.data = torch.empty(6, dtype=torch.float64).uniform_(0.5, 3, generator=generator)
        module.shift.data = torch.empty(6, dtype=torch.float64).normal_(std=2, generator=generator)
    assert (model(images) - healthy).abs().max() > 0.1
    torch.testing.assert_close(peer(images), healthy, rtol=1e-3, atol=1e-3)  # but for eps beside the variances
    far = norm_statistics(Shifted().double(), source, prior=1e12)
    far.model.load_state_dict(peer.model.state_dict())
    assert (far(images) - healthy).abs().max() > 0.1  # the source alone undoes nothing


def test_the_moments_are_those_of_everything_the_layers_read(vim, source):
    read = {name: [] for name in norm_layers(vim)}
    reading = copy.deepcopy(vim)
    for name, norm in norm_layers(reading).items():
        norm.register_forward_pre_hook(lambda _, args, name=name: read[name].append(args[0].detach()))
    reading(source.batch(torch.arange(70)).images.double())
    moments = source_moments(vim, norm_layers(vim), source, batch_size=16)
    assert list(moments) == list(read)
    for name, (mean, variance) in moments.items():
        tokens = torch.cat(read[name]).flatten(0, 1)
        torch.testing.assert_close(mean, tokens.mean(0))
        torch.testing.assert_close(variance, tokens.var(0, correction=0))
    assert not any(norm._forward_pre_hooks for norm in norm_layers(vim).values())


def test_after_realignment_a_layer_reads_the_sources_moments(vim, source, pixels):
    peer = norm_statistics(vim, source, prior=0.0)
    first, read = next(iter(norm_layers(peer.model).values())), []
    first.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    peer((pixels(20) + 0.7) * 3)
    mean, variance = source_moments(vim, norm_layers(vim), source, batch_size=70)["1.layers.0.norm"]
    torch.testing.assert_close(read[0].flatten(0, 1).mean(0), mean)
    torch.testing.assert_close(read[0].flatten(0, 1).var(0, correction=0), variance, rtol=1e-3, atol=1e-5)


def test_a_great_prior_leaves_the_model_as_it_is(vim, source, pixels):
    torch.testing.assert_close(norm_statistics(vim, source, prior=1e12)(pixels(5)), vim(pixels(5)))


def test_a_layer_that_never_runs_is_left_out(source):
    model = nn.Sequential(nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 3))
    model[2].unused = nn.LayerNorm(2)
    assert list(norm_layers(model)) == ["1", "2.unused"]
    assert list(source_moments(model, norm_layers(model), source, batch_size=9)) == ["1"]
    assert norm_statistics(model, source)(torch.rand(2, 1, 4, 4)).shape == (2, 3)


def test_a_channel_that_stands_still_stays_finite():
    realign = Realign(torch.zeros(2), torch.zeros(2), 0.0, -1, 1e-5)
    assert torch.equal(realign(torch.ones(3, 2)), torch.zeros(3, 2))


def test_gradients_go_through_the_moments(vim, source, pixels):
    peer = norm_statistics(vim, source, prior=2.0)
    assert torch.autograd.gradcheck(peer, pixels(2).requires_grad_())
    images = pixels(3).requires_grad_()
    (gradient,) = torch.autograd.grad(peer(images)[0].sum(), images)
    assert gradient[1:].abs().sum() > 0  # an answer depends on its neighbours


def test_it_undoes_most_of_a_brightness_shift(trained, digits, accuracy):
    def brighter(images):
        return (images + 0.3).clamp(0, 1)

    peer = norm_statistics(trained, digits.train)
    assert accuracy(peer) >= accuracy(trained) - 0.01
    assert accuracy(peer, brighter) >= accuracy(trained, brighter) + 0.1


def test_bad_settings_are_refused(vim, source):
    for settings in ({"prior": -1.0}, {"prior": float("inf")}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="norm_statistics: prior must be at least 0 and batch_size at least 1"):
            norm_statistics(vim, source, **settings)


def test_a_missing_source_or_norm_is_refused(vim, source):
    with pytest.raises(
        ValueError, match=r"norm_statistics: '1.layers.0.norm' is a RMSNorm, which keeps .* give source="
    ):
        norm_statistics(vim)
    with pytest.raises(ValueError, match=r"norm_statistics: .* give source="):
        norm_statistics(vim, source.subset(torch.tensor([], dtype=torch.long)))
    with pytest.raises(
        ValueError, match="norm_statistics: the model has no BatchNorm, GroupNorm, LayerNorm or RMSNorm"
    ):
        norm_statistics(nn.Flatten(), source)


def test_one_value_without_prior_is_refused():
    peer = norm_statistics(nn.Sequential(nn.BatchNorm2d(2)), prior=0.0)
    with pytest.raises(
        ValueError, match=r"norm_statistics: one value per channel, shape \(1, 2, 1, 1\), has no variance"
    ):
        peer(torch.ones(1, 2, 1, 1))
