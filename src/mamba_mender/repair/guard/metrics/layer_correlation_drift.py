"""How far the running correlation between two layers has left the healthy one."""

from mamba_mender.repair.guard.layer_link import LayerLink


def layer_correlation_drift(remembered: LayerLink, healthy: LayerLink) -> float:
    """Measure how differently a layer goes together with the one before it.

        |R - R_healthy|_F / (|R|_F + |R_healthy|_F)

    with R the correlations of each channel before with each channel. It is 0 where channels of the two layers go
    together as in healthy states, at whatever volume, and 1 where all go together the other way round.

    Args:
        remembered: moments that the guard remembers, or those of any states.
        healthy: healthy moments of the site.

    Returns:
        A number in [0, 1]; 0 where neither correlates at all.

    Example:
        >>> import torch
        >>> one = torch.ones(1, 1)
        >>> along, against = (LayerLink(0 * one, sign * one, one[0], one[0]) for sign in (1, -1))
        >>> layer_correlation_drift(along, along), layer_correlation_drift(against, along)
        (0.0, 1.0)

    Source: Hebb, The Organization of Behavior (1949), for the correlation between what sends and what receives.
    """
    seen, usual = remembered.correlation.double(), healthy.correlation.double()
    size = float(seen.norm() + usual.norm())
    return float((seen - usual).norm()) / size if size > 0 else 0.0
