"""Gains and correlations of what a guard remembers: each learned at a speed of its own, behind two thresholds."""

import torch
from torch import Tensor

from mamba_mender.repair.guard.config import GuardConfig
from mamba_mender.repair.guard.law import Law


def learn_gains(remembered: Law, pooled: Law, rate: float, config: GuardConfig) -> Law:
    """Learn gains channel by channel and correlations band by band, where they are not to take the whole step.

    A band's covariance is D R D, with the gains D, standard deviations of its channels, and their correlations R. With
    A remembered, P pooled and a the rate, a channel's activity rises by (P_ii - A_ii) / (a A_ii) towards what is seen:

        v_i = potentiation where it rises by more than the first threshold, depression where it falls by more than the
        second, 0 in between;   v = potentiation where tr P > tr A, else depression
        B = (1 - v) A + v P,   d_i = (1 - v_i) A_ii + v_i P_ii,   C_ij = B_ij sqrt(d_i d_j / (B_ii B_jj))

    C is positive semi-definite, since scaling rows and columns of B alike is a congruence; its variances lie between
    those of A and P, and its correlations are those of B, w R_A,ij + w' R_P,ij with w, w' >= 0 and w + w' <= 1 by
    Cauchy and Schwarz, so none is stronger than the stronger of the two. The mean takes the whole step.

    Args:
        remembered: A, law of the memory.
        pooled: P, law that a whole step leads to.
        rate: of that step, in (0, 1].
        config: potentiation, depression and their thresholds.

    Returns:
        The law to remember; ``pooled`` itself where both speeds are 1 and both thresholds 0.

    Example:
        >>> law_with = lambda *variances: Law(torch.zeros(1, 2), torch.tensor(variances).diag()[None])
        >>> remembered, pooled = law_with(1.0, 1.0), law_with(2.0, 0.5)
        >>> found = learn_gains(remembered, pooled, 1.0, GuardConfig(potentiation=0.5, depression_threshold=0.6))
        >>> found.scatter[0].diagonal().tolist()
        [1.5, 1.0]

    Source: two thresholds as in Shouval, Bear & Cooper, A unified model of NMDA receptor-dependent bidirectional
        synaptic plasticity (2002).
    """
    if config.potentiation == config.depression == 1 and not has_thresholds(config):
        return pooled
    before, after = (law.scatter.diagonal(dim1=-2, dim2=-1) for law in (remembered, pooled))
    rise, scale = (after - before).detach(), rate * before.detach()
    up, down = rise > config.potentiation_threshold * scale, -rise > config.depression_threshold * scale
    speeds = config.potentiation * up.to(after) + config.depression * down.to(after)
    rising = rise.sum(-1) > 0
    bands = torch.where(rising, after.new_tensor(config.potentiation), after.new_tensor(config.depression))
    blend = torch.lerp(remembered.scatter, pooled.scatter, bands[:, None, None])
    now, wanted = blend.diagonal(dim1=-2, dim2=-1), torch.lerp(before, after, speeds)
    spread = (now > 0) & (wanted > 0)  # a silent channel stays silent, and has no slope to give
    scales = torch.where(spread, wanted, 1).sqrt() / torch.where(spread, now, 1).sqrt()
    scaled = blend * (scales[:, :, None] * scales[:, None, :])
    return Law(pooled.mean, scaled.diagonal_scatter(wanted, dim1=-2, dim2=-1))  # the gains to the last digit


def has_thresholds(config: GuardConfig) -> bool:
    """Say whether small changes of activity are left unlearned, so that gains need not arrive at what is seen."""
    return config.potentiation_threshold > 0 or config.depression_threshold > 0


def gain_changes(before: Law, after: Law) -> Tensor:
    """Measure the relative change of each channel's gain, sqrt(C_ii / A_ii) - 1, (bands, channels); 0 in silence."""
    old, new = (law.scatter.detach().diagonal(dim1=-2, dim2=-1) for law in (before, after))
    return torch.where(new == old, 0, (new / old).sqrt() - 1)
