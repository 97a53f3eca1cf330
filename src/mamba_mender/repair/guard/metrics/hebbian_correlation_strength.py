"""How far the running Hebbian correlation has left the healthy one."""

import torch

from mamba_mender.repair.guard.law import Law, Modes
from mamba_mender.repair.guard.matrix_power import matrix_power, shrink

RIDGE = 1e-6  # of the mean variance, so that the healthy covariance can be inverted


def hebbian_correlation_strength(remembered: Law, healthy: Law, modes: Modes) -> float:
    """Measure the correlation between channels that healthy states do not have.

        R = D^(-1/2) A^(-1/2) C A^(-1/2) D^(-1/2),   mean over bands, by width, and i != j of |R_ij|

    with C the running Hebbian correlation of a band, A the healthy one, and D the diagonal of what whitening by A makes
    of C.

    It is 0 where channels go together as in healthy states, at whatever volume, and 1 where all whitened channels go
    as one.

    Args:
        remembered: law that the guard remembers at a site, or the law of any states.
        healthy: healthy law of the site.
        modes: the site's token modes.

    Returns:
        A number in [0, 1].

    Example:
        >>> modes = Modes(None, (0, 1))
        >>> healthy = Law(torch.zeros(1, 2), torch.eye(2)[None])
        >>> together = Law(torch.zeros(1, 2), torch.ones(1, 2, 2))
        >>> [round(hebbian_correlation_strength(law, healthy, modes), 3) for law in (healthy, together)]
        [0.0, 1.0]

    Source: Hebb, The Organization of Behavior (1949), for the correlation as what is learned.
    """
    white = matrix_power(shrink(healthy.scatter.double(), RIDGE), -0.5)
    seen = white @ remembered.scatter.double() @ white
    size = seen.shape[-1]
    if size == 1:
        return 0.0
    scale = seen.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(torch.float64).tiny).rsqrt()
    correlation = (scale[:, :, None] * seen * scale[:, None, :]).abs().clamp_max(1)  # rounding, where a channel is 0
    apart = (correlation.sum((1, 2)) - correlation.diagonal(dim1=-2, dim2=-1).sum(-1)) / (size * (size - 1))
    widths = modes.widths(1).to(apart)
    return float((apart * widths).sum() / widths.sum())
