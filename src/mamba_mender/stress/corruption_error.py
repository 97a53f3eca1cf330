"""How often a model errs under corruptions, relative to another one."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mamba_mender._check import UserError
from mamba_mender._interval import Interval


def corruption_error(
    errors: ArrayLike, base_errors: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    r"""Compare errors under corruptions with those of a base model, corruption by corruption.

    With the errors summed over severities, for C corruptions::

        1/C sum_c (E_c / E_c^base)

    This is the mean corruption error (mCE) with a base of one's own instead of AlexNet. Where the errors on clean
    images have been taken off both, it is the relative one. It is 1 for the base itself, and 0 for a model that never
    errs.

    Args:
        errors: 1 where the model errs, averaged over severities, (corruptions, images).
        base_errors: the same of the base, on the same images.
        level: confidence.
        resamples: number of bootstrap draws, of images; in a draw where the base does not err the figure has no
            value, and the draw does not count.
        seed: of the draws.

    Returns:
        The mean ratio and its interval over images.

    Raises:
        UserError: the base does not err under some corruption, so that there is nothing to compare with.
        ValueError: the shapes differ.

    Example:
        >>> corruption_error([[1, 0], [1, 0]], [[1, 1], [1, 0]]).mean
        0.75

    Source:
        Hendrycks and Dietterich 2019, Benchmarking neural network robustness to common corruptions and perturbations,
        section 4.
    """
    ours, base = np.asarray(errors, dtype=np.float64), np.asarray(base_errors, dtype=np.float64)
    if ours.shape != base.shape or ours.ndim != 2 or ours.size == 0:
        raise ValueError(f"corruption_error: both must be (corruptions, images), got {ours.shape} and {base.shape}.")
    if (base.mean(1) <= 0).any():
        raise UserError(
            f"corruption_error: the base does not err more under corruption {int(base.mean(1).argmin())} than it is "
            "compared from, so no ratio can be formed; take more images, or compare accuracies."
        )
    images = ours.shape[1]
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples)
    found = _ratio(ours @ draws.T, base @ draws.T)
    low, high = np.quantile(found[np.isfinite(found)], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(_ratio(ours.sum(1), base.sum(1))), float(low), float(high))


def _ratio(ours: NDArray[np.float64], base: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.divide(ours, base, out=np.full_like(ours, np.inf), where=base > 0)
    return ratio.mean(axis=0)
