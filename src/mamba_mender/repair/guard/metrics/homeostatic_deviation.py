"""How far the activity of channels is from its healthy set point."""

import torch
from torch import Tensor

from mamba_mender.repair.guard.law import Law, Modes


def homeostatic_deviation(seen: Law, healthy: Law, modes: Modes, *, tokens: int = 1) -> float:
    """Measure the deviation of each channel's activity from its set point.

        mean over channels of 1 - min(a, a*) / max(a, a*),   a = sqrt(E[u^2])

    with a the root mean square of a channel over samples and tokens, and a* that of healthy states.

    It is 0 where each channel is as active as in healthy states, and 1 where all are silent, or overflow.

    Args:
        seen: law of what is judged: of states, or what a guard remembers.
        healthy: healthy law of the site.
        modes: the site's token modes.
        tokens: positions in a sample, for laws that do not tell positions apart.

    Returns:
        A number in [0, 1].

    Example:
        >>> modes, mean = Modes(None, (0, 1)), torch.zeros(1, 1)
        >>> homeostatic_deviation(Law(mean, torch.full((1, 1, 1), 4.0)), Law(mean, torch.ones(1, 1, 1)), modes)
        0.5

    Source: Turrigiano et al., Activity-dependent scaling of quantal amplitude in neocortical neurons (1998), for the
        set point.
    """
    now, usual = (channel_rms(law, modes, tokens) for law in (seen, healthy))
    low, high = torch.minimum(now, usual), torch.maximum(now, usual)
    ratio = torch.where(high > 0, low / high, torch.ones_like(high))  # silent as it should be
    return float((1 - ratio).mean())


def channel_rms(law: Law, modes: Modes, tokens: int = 1) -> Tensor:
    """Give the root mean square of each channel over samples and tokens, (channels,), in float64."""
    widths = modes.widths(tokens).to(law.scatter.device, torch.float64)
    variance = (law.scatter.double().diagonal(dim1=-2, dim2=-1) * widths[:, None]).sum(0) / widths.sum()
    return (law.mean.double().square().mean(0) + variance).sqrt()
