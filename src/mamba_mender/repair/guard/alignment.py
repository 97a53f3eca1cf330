"""Move the moments of unhealthy states back to their healthy values."""

import torch
from torch import Tensor

from mamba_mender.repair.guard.law import Law, Modes
from mamba_mender.repair.guard.matrix_power import matrix_power, roots, shrink


def transport_maps(source: Tensor, target: Tensor, *, differentiable: bool = False) -> Tensor:
    """Compute the optimal transport maps between centred Gaussian laws.

    T = B^(1/2) (B^(1/2) A B^(1/2))^(-1/2) B^(1/2), symmetric, with T A T = B.

    Args:
        source: covariances A, (bands, channels, channels), positive definite.
        target: covariances B, the same shape.
        differentiable: by products alone, so that gradients reach the source.

    Example:
        >>> transport_maps(torch.tensor([[[4.0]]]), torch.tensor([[[9.0]]]))
        tensor([[[1.5000]]])

    Source: Olkin & Pukelsheim, The distance between two random vectors with given dispersion matrices (1982).
    """
    half = matrix_power(target, 0.5)
    product = half @ source @ half
    inverse = roots(product)[1] if differentiable else matrix_power(product, -0.5)
    return half @ inverse @ half


def whitening_maps(source: Tensor, target: Tensor, *, differentiable: bool = False) -> Tensor:
    """Compute maps that whiten by one covariance and colour by another, A^(-1/2) B^(1/2), for rows of states.

    Args:
        source: covariances A, (bands, channels, channels), positive definite.
        target: covariances B, the same shape.
        differentiable: by products alone, so that gradients reach the source.

    Example:
        >>> whitening_maps(torch.tensor([[[4.0]]]), torch.tensor([[[9.0]]]))
        tensor([[[1.5000]]])

    Source: Sun, Feng & Saenko, Return of frustratingly easy domain adaptation (CORAL, 2016).
    """
    inverse = roots(source)[1] if differentiable else matrix_power(source, -0.5)
    return inverse @ matrix_power(target, 0.5)


def scale_maps(source: Tensor, target: Tensor) -> Tensor:
    """Compute maps that set each channel's scale alone, diag(sqrt(B_cc / A_cc))."""
    ratio = target.diagonal(dim1=-2, dim2=-1) / source.diagonal(dim1=-2, dim2=-1)
    return torch.diag_embed(ratio.sqrt())


def regular(law: Law, share: float) -> Law:
    """Shrink the covariances of a law, so that they can be inverted."""
    return Law(law.mean, shrink(law.scatter, share))


def realign(states: Tensor, source: Law, target: Law, maps: Tensor, *, modes: Modes, strength: float = 1.0) -> Tensor:
    """Move states so that the source law becomes the target law, or part of the way.

    u -> (1 - g) u + g (mean_target + T (u - mean_source)), T per band of token modes. With the transport maps the moved
    law lies on the Wasserstein geodesic: its distance from the target is (1 - g) times what it was.

    Args:
        states: (samples, tokens, channels).
        source, target: laws of what is seen and of what is healthy.
        maps: one a band, for rows, (bands, channels, channels).
        modes: the site's token modes.
        strength: g.

    Returns:
        Moved states, of the same shape.
    """
    moved = [c @ m for c, m in zip(modes.split(states - source.mean), maps, strict=True)]
    healed = target.mean + modes.join(moved)
    return healed if strength == 1 else torch.lerp(states, healed, strength)


def operator_norm(maps: Tensor, strength: float = 1.0) -> Tensor:
    """Measure by how much a realignment can stretch a difference of two states: the Lipschitz bound of the applied map.

    max over bands of the largest singular value of (1 - g) I + g T; the token basis is orthonormal and adds nothing.

    Example:
        >>> operator_norm(torch.tensor([[[3.0]], [[0.5]]]), strength=0.5).item()
        2.0
    """
    eye = torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    return torch.linalg.matrix_norm((1 - strength) * eye + strength * maps, 2).amax()
