"""Intervals for means: over images, and over seeds and images together."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Interval:
    """A mean and the interval it is reported with.

    mean: the point estimate.
    low: lower end of the interval.
    high: upper end of the interval.
    """

    mean: float
    low: float
    high: float

    def contains(self, value: float) -> bool:
        """Say whether a value lies inside, ends included."""
        return self.low <= value <= self.high

    def to_dict(self) -> dict[str, float]:
        """Give the three numbers by name."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


def wilson_interval(correct: int, total: int, *, level: float = 0.95) -> Interval:
    r"""Bound a proportion by Wilson's score interval.

    With p = correct / total and q the normal quantile::

        (p + q²/2n ± q sqrt(p (1 - p) / n + q²/4n²)) / (1 + q²/n)

    It stays inside [0, 1] and keeps its width at p = 0 and p = 1, where a bootstrap has none.

    Args:
        correct: successes.
        total: trials, at least 1.
        level: confidence.

    Returns:
        The interval; its mean is the plain proportion.

    Raises:
        ValueError: there are no trials, or more successes than trials.

    Example:
        >>> print(wilson_interval(90, 100))
        90.0 % (82.6 to 94.5)

    Source:
        E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.
    """
    if not 0 <= correct <= total or total < 1:
        raise ValueError(f"wilson_interval: need 0 <= correct <= total and total >= 1, got {correct} of {total}.")
    p, q = correct / total, NormalDist().inv_cdf((1 + level) / 2)
    centre = p + q**2 / (2 * total)
    half = q * np.sqrt(p * (1 - p) / total + (q / (2 * total)) ** 2)
    scale = 1 + q**2 / total
    low = float((centre - half) / scale) if correct > 0 else 0.0  # exact at the ends, where rounding is not
    high = float((centre + half) / scale) if correct < total else 1.0
    return Interval(p, low, high)


def bootstrap_interval(values: ArrayLike, *, level: float = 0.95, resamples: int = 4000, seed: int = 0) -> Interval:
    """Bound a mean by the percentile bootstrap, over seeds and images together.

    Seeds and images are crossed (every seed is tested on the same images), so each resample draws seeds
    with replacement, draws images with replacement, and averages the block they span. With one seed
    only the images are drawn. Three seeds say little about the spread over seeds: read the interval of a
    few seeds as a lower bound on the doubt.

    Args:
        values: one number an image, (images,), or one row a seed, (seeds, images).
        level: confidence.
        resamples: number of bootstrap draws.
        seed: seed of the draws; the same call gives the same interval.

    Returns:
        The mean of all values and the percentiles of the resampled means.

    Raises:
        ValueError: values is empty, not finite, or has more than two axes.

    Example:
        >>> print(bootstrap_interval([1, 1, 1, 1]))
        100.0 % (100.0 to 100.0)

    Source:
        B. Efron, Bootstrap methods: another look at the jackknife, 1979; the crossed draw is the
        "pigeonhole" bootstrap of A. Owen, 2007 (arXiv:0712.1111).
    """
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError(
            f"bootstrap_interval: values must be finite, (images,) or (seeds, images), got shape {table.shape}."
        )
    draws = np.random.default_rng(seed)
    seeds, images = table.shape
    # Images with the same column are interchangeable, so a draw needs only the count of each distinct column:
    # for right/wrong answers there are a handful of them, whatever the number of images.
    columns, counts = np.unique(table, axis=1, return_counts=True)
    seed_weights = draws.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    means = np.empty(resamples)
    chunk = max(1, 4_000_000 // len(counts))
    for start in range(0, resamples, chunk):
        rows = slice(start, min(start + chunk, resamples))
        weights = draws.multinomial(images, counts / images, size=rows.stop - rows.start) / images
        means[rows] = ((seed_weights[rows] @ columns) * weights).sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(table.mean()), float(low), float(high))


def paired_gain(
    correct_a: Sequence[ArrayLike], correct_b: Sequence[ArrayLike], *, level: float = 0.95, resamples: int = 4000
) -> Interval:
    """Measure by how much a beats b on the same images: mean(a) - mean(b), with a paired interval.

    The difference is taken image by image and seed by seed before anything is resampled, so what both get
    right or wrong cancels; then seeds and images are drawn as in :func:`bootstrap_interval`.

    Args:
        correct_a: right or wrong answers of a, one vector (images,) a seed.
        correct_b: the same of b; same seeds, same images, same order.
        level: confidence.
        resamples: number of bootstrap draws.

    Returns:
        The gain in accuracy as a share (0.02 is two points) and its interval.

    Raises:
        ValueError: the two differ in seeds or images.

    Example:
        >>> paired_gain([[True, True, False]], [[True, True, False]])
        Interval(mean=0.0, low=0.0, high=0.0)
    """
    a, b = (np.stack([np.asarray(row, dtype=np.float64) for row in rows]) for rows in (correct_a, correct_b))
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"paired_gain: both must be (seeds, images) and equal in shape, got {a.shape} and {b.shape}.")
    return bootstrap_interval(a - b, level=level, resamples=resamples)
