"""How well scores tell what was hit from what was not."""

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor


def detection_auc(scores: ArrayLike | Tensor, hit: ArrayLike | Tensor) -> float:
    """Compute the area under the ROC curve of scores as detectors, exactly, ties included.

    The chance that something hit scores above something that is not, a tie counting one half::

        AUC = (sum of the ranks of the hit - p (p + 1) / 2) / (p n),   p hit, n not hit, ties with their mean rank

    Args:
        scores: higher means more likely hit; any shape, infinities allowed.
        hit: what was hit, bool, same shape.

    Returns:
        1 if every hit one scores above every other, 0 if below, 0.5 if the scores say nothing.

    Raises:
        ValueError: shapes differ, a score is NaN, or everything or nothing was hit.

    Example:
        >>> detection_auc([0.1, 0.9, 0.2], [False, True, False]), detection_auc([1.0, 1.0], [False, True])
        (1.0, 0.5)

    Source:
        J. A. Hanley and B. J. McNeil, The meaning and use of the area under a receiver operating characteristic (ROC)
        curve, Radiology 1982.
    """
    values, mask = _array(scores).astype(np.float64), _array(hit).astype(bool)
    if values.shape != mask.shape:
        raise ValueError(f"detection_auc: scores and hit must have one shape, got {values.shape} and {mask.shape}.")
    if nan := int(np.isnan(values).sum()):
        raise ValueError(f"detection_auc: {nan} scores are NaN; give what is certainly hit the score infinity.")
    positive = int(mask.sum())
    negative = mask.size - positive
    if positive == 0 or negative == 0:
        raise ValueError(
            f"detection_auc: {positive} of {mask.size} were hit; need some that were and some that were not."
        )
    _, places, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[places]  # of ties their mean
    return float((ranks[mask.ravel()].sum() - positive * (positive + 1) / 2) / (positive * negative))


def _array(given: ArrayLike | Tensor) -> np.ndarray:
    if isinstance(given, Tensor):
        given = given.detach().cpu()
        return (given.float() if given.is_floating_point() and given.dtype.itemsize < 4 else given).numpy()
    return np.asarray(given)
