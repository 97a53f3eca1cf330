"""States that are corrupted on purpose, and set right by the guard's repair."""

import torch
from torch import Tensor

from mamba_mender.repair.guard.alignment import realign, regular, transport_maps
from mamba_mender.repair.guard.config import GuardConfig
from mamba_mender.repair.guard.law import law_of
from mamba_mender.repair.guard_training.running_law import RunningLaw, activity_of


def add_state_noise(states: Tensor, healthy: RunningLaw, most: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise to states, of one scale a sample, uniform in [0, most] standard deviations of the channel.

    These are the root mean squares of the states given about the healthy means of their positions, with the gradient of
    that: a model that learns with the noise gains nothing by larger states. On healthy states they are the healthy
    standard deviations.

    Args:
        states: (samples, tokens, channels).
        healthy: gives the means.
        most: the largest scale.
        generator: draws scales and noise.
    """
    scale = most * torch.rand(len(states), 1, 1, generator=generator)
    noise = scale * torch.randn(states.shape, generator=generator)
    return states + noise.to(states) * _deviation(states, healthy)


def change_gain(states: Tensor, healthy: RunningLaw, spread: float, generator: torch.Generator) -> Tensor:
    """Multiply each channel by a random gain about its healthy mean, and add a random offset, the same in all samples.

    u -> mean + exp(spread a_c) (u - mean) + spread b_c std_c, with a and b standard normal; std as for the noise.

    Args:
        states: (samples, tokens, channels).
        healthy: gives the means.
        spread: of gains and offsets.
        generator: draws them.
    """
    gain, offset = (spread * torch.randn(2, states.shape[-1], generator=generator)).to(states)
    mean = healthy.law.mean.mean(0).to(states)
    return mean + gain.exp() * (states - mean) + offset * _deviation(states, healthy)


def _deviation(states: Tensor, healthy: RunningLaw) -> Tensor:
    """Measure the root mean square of each channel about the healthy means of its positions, (channels,)."""
    mean = healthy.law.mean
    return activity_of(states.to(mean.dtype) - mean).to(states.dtype)


def restore_moments(states: Tensor, healthy: RunningLaw, config: GuardConfig) -> Tensor:
    """Move the moments of states back to the healthy ones, by the guard's optimal transport; gradients flow through.

    The moments are those of the samples given, n of them, believed to n^2 / (n^2 + evidence^2).

    Args:
        states: of the corrupted samples, (samples, tokens, channels).
        healthy: where the moments go.
        config: strength, evidence, shrinkage.

    Returns:
        States of the same shape and dtype.
    """
    with torch.autocast(states.device.type, enabled=False):
        given = states.to(healthy.law.mean.dtype)
        target = regular(healthy.law, config.shrinkage)
        seen = regular(law_of(given, healthy.modes), config.shrinkage)
        source = target.blend(seen, len(given) ** 2 / (len(given) ** 2 + config.evidence**2))
        maps = transport_maps(source.scatter, target.scatter, differentiable=True)
        healed = realign(given, source, target, maps, modes=healthy.modes, strength=config.strength)
    return healed.to(states.dtype)
