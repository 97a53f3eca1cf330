"""How the scores depend on their thresholds."""

from collections.abc import Callable, Sequence

from torch import Tensor

from mamba_mender.inspection.binarise import binarise
from mamba_mender.inspection.external_score import ExternalScore, Space, external_score
from mamba_mender.inspection.internal_score import InternalScore, internal_score

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def sweep_alpha(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    maps: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    masks: Tensor | None = None,
    has_mask: Tensor | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    space: Space = "normalised",
    batch_size: int = 64,
) -> dict[float, ExternalScore]:
    """Score maps at several thresholds alpha.

    Args:
        thresholds: the values of alpha.
        model, images, labels, maps, mean, std, masks, has_mask, space, batch_size: as in
            :func:`mamba_mender.inspection.external_score`.

    Returns:
        Threshold to scores.

    Raises:
        ValueError: as :func:`mamba_mender.inspection.external_score`.

    Example:
        >>> import torch
        >>> sweep = sweep_alpha(lambda x: x.mean(3)[:, 0] * torch.tensor([1.0, -1.0]), torch.ones(1, 1, 1, 4),
        ...     torch.tensor([0]), torch.tensor([[[0.0, 1.0]]]), mean=[0.0], std=[1.0], thresholds=[0.1, 0.5])
        >>> [score.coverage for score in sweep.values()]
        [0.75, 0.5]

    Source: Vision Mamba Mender (NeurIPS 2024), figure 6.
    """
    return {
        alpha: external_score(
            model,
            images,
            labels,
            maps,
            mean=mean,
            std=std,
            masks=masks,
            has_mask=has_mask,
            alpha=alpha,
            space=space,
            batch_size=batch_size,
        )
        for alpha in thresholds
    }


def sweep_beta(vectors: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> dict[float, InternalScore]:
    """Score internal correlations at several thresholds beta.

    Args:
        vectors: internal correlation, (classes, samples, channels).
        thresholds: the values of beta.

    Returns:
        Threshold to the scores of each class.

    Raises:
        ValueError: vectors has other axes, or a threshold is outside [0, 1).

    Example:
        >>> import torch
        >>> sweep = sweep_beta(torch.tensor([[[0.0, 0.4, 1.0]]]), [0.3, 0.5])
        >>> [round(score.simplicity.item(), 3) for score in sweep.values()]
        [0.333, 0.667]

    Source: Vision Mamba Mender (NeurIPS 2024), figure 7.
    """
    if vectors.dim() != 3:
        raise ValueError(f"sweep_beta: vectors must be (classes, samples, channels), got {tuple(vectors.shape)}.")
    return {beta: internal_score(binarise(vectors.flatten(0, 1), beta).view_as(vectors)) for beta in thresholds}
