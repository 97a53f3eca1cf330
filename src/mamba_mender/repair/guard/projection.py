"""Move single tokens onto the set of healthy ones: the convex projections, and the Wiener shrink."""

import torch
from torch import Tensor


def project_ellipsoid(states: Tensor, mean: Tensor, whitener: Tensor, radius: Tensor) -> Tensor:
    """Project each token onto the healthy ellipsoid, nearest in the norm of the healthy precision.

    P(u) = mean + min(1, radius / d(u)) (u - mean), d(u) = |(u - mean) W|. Not moved inside; 1-Lipschitz in that norm.

    Args:
        states: (samples, tokens, channels).
        mean: (tokens, channels) or (1, channels).
        whitener: inverse root of the healthy covariance, (channels, channels).
        radius: calibrated quantile of d, a number.

    Example:
        >>> u = torch.tensor([[[3.0, 4.0]]])
        >>> project_ellipsoid(u, torch.zeros(1, 2), torch.eye(2), torch.tensor(1.0))
        tensor([[[0.6000, 0.8000]]])
    """
    away = states - mean
    distance = (away @ whitener).norm(dim=-1, keepdim=True)
    return torch.where(distance > radius, mean + away * (radius / distance.clamp_min(1e-12)), states)


def project_box(states: Tensor, mean: Tensor, vectors: Tensor, reach: Tensor) -> Tensor:
    """Project each token onto the healthy box in the principal directions, nearest in the Euclidean norm.

    |v_i^T (u - mean)| <= reach_i; 1-Lipschitz in the Euclidean norm and in that of the healthy precision.

    Args:
        states: (samples, tokens, channels).
        mean: (tokens, channels) or (1, channels).
        vectors: principal directions in columns, (channels, channels).
        reach: largest coordinate along each, (channels,).

    Example:
        >>> u = torch.tensor([[[3.0, 0.5]]])
        >>> project_box(u, torch.zeros(1, 2), torch.eye(2), torch.ones(2))
        tensor([[[1.0000, 0.5000]]])
    """
    along = (states - mean) @ vectors
    inside = torch.minimum(torch.maximum(along, -reach), reach)
    return states + (inside - along) @ vectors.mT


def wiener_shrink(states: Tensor, mean: Tensor, healthy: Tensor, excess: Tensor) -> Tensor:
    """Estimate each token's healthy state, where independent noise of a known covariance lies on it.

    W(u) = mean + S (S + E)^-1 (u - mean), E the positive part of what is seen beyond the healthy covariance S.

    Args:
        states: (samples, tokens, channels).
        mean: of what is seen, (tokens, channels) or (1, channels).
        healthy: covariance S, (channels, channels), positive definite.
        excess: seen minus healthy covariance, (channels, channels); negative directions are left out.

    Example:
        >>> u = torch.tensor([[[2.0]]])
        >>> wiener_shrink(u, torch.zeros(1, 1), torch.eye(1), torch.eye(1))
        tensor([[[1.]]])
    """
    values, vectors = torch.linalg.eigh(excess.double())
    noise = (vectors * values.clamp_min(0)) @ vectors.mT
    gain = torch.linalg.solve(healthy.double() + noise, healthy.double()).to(states.dtype)
    return mean + (states - mean) @ gain
