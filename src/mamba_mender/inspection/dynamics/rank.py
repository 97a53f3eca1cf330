"""How many directions a spread of values fills."""

import torch
from torch import Tensor


def effective_rank(values: Tensor) -> Tensor:
    """Count the directions that matter by the entropy of the singular values.

    Computes ``exp(-sum_k p_k ln p_k)`` with ``p_k = s_k / sum s``: 1 where one direction is used, k where k
    directions are used equally, and 0 where all singular values are 0.

    Args:
        values: singular values, (..., k), >= 0.

    Returns:
        (...), from 0 to k.

    Example:
        >>> effective_rank(torch.tensor([[1.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
        tensor([2., 1., 0.])

    Source: Roy & Vetterli, "The effective rank" (EUSIPCO 2007).
    """
    total = values.sum(-1, keepdim=True)
    share = values / torch.where(total == 0, 1, total)
    return torch.where(total[..., 0] == 0, 0, torch.special.entr(share).sum(-1).exp())


def participation_ratio(values: Tensor) -> Tensor:
    """Count the directions that matter by the spread of the variance over them.

    Computes ``(sum_k s_k^2)^2 / sum_k s_k^4``: 1 where one direction has all the variance, k where k directions
    have equal parts, and 0 where there is none.

    Args:
        values: singular values, (..., k), >= 0; or square roots of the eigenvalues of a covariance.

    Returns:
        (...), from 0 to k.

    Example:
        >>> participation_ratio(torch.tensor([[3.0, 3.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
        tensor([2., 1., 0.])

    Source: Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement" (bioRxiv 214262).
    """
    largest = values.amax(-1, keepdim=True)
    energy = (values / torch.where(largest == 0, 1, largest)).square()
    return torch.where(largest[..., 0] == 0, 0, energy.sum(-1).square() / energy.square().sum(-1).clamp(min=1))


def root_eigenvalues(matrix: Tensor) -> Tensor:
    """Take the square roots of the eigenvalues of a Gram matrix or covariance, those of rounding only as 0.

    Args:
        matrix: symmetric, without negative eigenvalues, (..., k, k), in float64.

    Returns:
        (..., k), ascending.

    Example:
        >>> root_eigenvalues(torch.diag(torch.tensor([4.0, 0.0], dtype=torch.float64)))
        tensor([0., 2.], dtype=torch.float64)
    """
    values = torch.linalg.eigvalsh(matrix)
    noise = values.abs().amax(-1, keepdim=True) * matrix.shape[-1] * torch.finfo(matrix.dtype).eps
    return torch.where(values > noise, values, 0).sqrt()
