"""Powers of covariance matrices: by eigenvalues, or by products alone, which can be differentiated."""

import torch
from torch import Tensor

FLOOR = 1e-10  # of the largest eigenvalue: what is below is noise of rounding
ROUNDS = 36  # Newton-Schulz steps, in float64: enough for a condition number of 1e8, which products of maps have
DONE = 1e-10  # distance of T from I after which another step moves roots by its square, and gradients by about it
EACH = 4  # steps from look to look


def matrix_power(matrix: Tensor, exponent: float) -> Tensor:
    """Raise symmetric positive matrices to a real power.

    S^p = V diag(max(w, 1e-10 max w)^p) V^T, in float64 inside. Not meant to be differentiated: eigenvectors of equal
    eigenvalues have no gradient. See :func:`inverse_root`.

    Args:
        matrix: symmetric, positive semi-definite, (..., channels, channels).
        exponent: the power, e.g. -0.5.

    Returns:
        A matrix of the same shape and dtype; one of NaN where the matrix is not finite.

    Example:
        >>> matrix_power(torch.diag(torch.tensor([4.0, 9.0])), -0.5).diagonal()
        tensor([0.5000, 0.3333])
    """
    values, vectors = torch.linalg.eigh(matrix.double())
    values = values.clamp_min(FLOOR * values[..., -1:].clamp_min(torch.finfo(torch.float64).tiny))
    return ((vectors * values.unsqueeze(-2) ** exponent) @ vectors.mT).to(matrix.dtype)


def roots(matrix: Tensor, *, rounds: int = ROUNDS) -> tuple[Tensor, Tensor]:
    """Compute S^(1/2) and S^(-1/2) by the coupled Newton-Schulz iteration.

    With S scaled to norm at most 1: Y = S, Z = I; then T = (3 I - Z Y) / 2, Y = Y T, Z = T Z; Y tends to the root
    and Z to its inverse. Only products, so that gradients, also of equal eigenvalues, are right. It ends early
    where all entries of T, of every matrix, are within 1e-10 of I.

    Args:
        matrix: symmetric, positive definite, (..., channels, channels), with a condition number of at most 1e8.
        rounds: steps, at most.

    Returns:
        The root and the inverse root, of the same shape and dtype.

    Example:
        >>> root, inverse = roots(torch.diag(torch.tensor([4.0, 9.0])))
        >>> root.diagonal(), inverse.diagonal()
        (tensor([2., 3.]), tensor([0.5000, 0.3333]))

    Source: Higham, Functions of Matrices (2008), section 6.3.
    """
    kind, matrix = matrix.dtype, matrix.double()
    scale = torch.linalg.matrix_norm(matrix, keepdim=True)  # Frobenius: at least the largest eigenvalue
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    root, inverse = matrix / scale, eye.expand_as(matrix)
    for done in range(1, rounds + 1):
        step = 1.5 * eye - 0.5 * inverse @ root
        root, inverse = root @ step, step @ inverse
        if done % EACH == 0 and bool(((step.detach() - eye).abs() < DONE).all()):
            break
    return (root * scale.sqrt()).to(kind), (inverse * scale.rsqrt()).to(kind)


def shrink(covariance: Tensor, share: float | Tensor) -> Tensor:
    """Move a covariance matrix towards a multiple of the identity.

    S_share = (1 - share) S + share (tr S / channels) I

    Args:
        covariance: (..., channels, channels).
        share: between 0 and 1; or one a matrix, (..., 1, 1).

    Example:
        >>> shrink(torch.diag(torch.tensor([1.0, 3.0])), 0.5).diagonal()
        tensor([1.5000, 2.5000])

    Source: Ledoit & Wolf, A well-conditioned estimator for large-dimensional covariance matrices (2004).
    """
    size = covariance.shape[-1]
    mean = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    return (1 - share) * covariance + share * mean * torch.eye(size, dtype=covariance.dtype, device=covariance.device)
