"""The repairs that move each token by itself, chosen by name."""

import torch
from torch import Tensor

from mamba_mender.repair.guard.law import Law
from mamba_mender.repair.guard.matrix_power import matrix_power, shrink
from mamba_mender.repair.guard.projection import project_box, project_ellipsoid, wiener_shrink
from mamba_mender.repair.guard.site_law import SiteLaw

REACH = 2.0  # standard deviations to each side of the healthy box
SHRINKAGE = 0.02


def project_tokens(states: Tensor, law: SiteLaw, seen: Law, *, kind: str, strength: float = 1.0) -> Tensor:
    """Project each token onto what is healthy, part of the way.

    u -> (1 - g) u + g P(u), P the projection onto the healthy ellipsoid or box, or the Wiener shrink with the excess of
    what is seen over what is healthy.

    Args:
        states: (samples, tokens, channels).
        law: what is healthy at the site.
        seen: law of unhealthy states, for "wiener".
        kind: "ellipsoid", "box" or "wiener".
        strength: g.

    Raises:
        ValueError: no projection has that name.
    """
    healthy = law.law()
    covariance = shrink(law.modes.pooled(healthy.scatter), SHRINKAGE)
    if kind == "ellipsoid":
        moved = project_ellipsoid(states, healthy.mean, matrix_power(covariance, -0.5), law.radius)
    elif kind == "box":
        values, vectors = _principal(covariance)
        moved = project_box(states, healthy.mean, vectors, REACH * values.clamp_min(0).sqrt())
    elif kind == "wiener":
        excess = law.modes.pooled(seen.scatter) - covariance
        moved = wiener_shrink(states, seen.mean, covariance, excess) - seen.mean + healthy.mean
    else:
        raise ValueError(f"project_tokens: no projection {kind!r}; it must be 'ellipsoid', 'box' or 'wiener'.")
    return states + strength * (moved - states)


def _principal(covariance: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(covariance.double())
    return values.to(covariance), vectors.to(covariance)
