"""Accuracy over the level of a perturbation, and the area below."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mamba_mender._check import UserError
from mamba_mender._interval import Interval, bootstrap_interval, wilson_interval


@dataclass(frozen=True)
class RobustnessCurve:
    """How the accuracy of a model falls with the level.

    levels: rising.
    accuracy: at each level, with its interval (Wilson).
    area: below the curve by the trapezoid rule, divided by the range of levels: 1 where every answer at every level
        is right, 0 where every one is wrong; with its interval over images (bootstrap).
    """

    levels: tuple[float, ...]
    accuracy: tuple[Interval, ...]
    area: Interval

    def to_dict(self) -> dict[str, Any]:
        """Give the numbers by name."""
        accuracy = [interval.to_dict() for interval in self.accuracy]
        return {"levels": list(self.levels), "accuracy": accuracy, "area": self.area.to_dict()}


def robustness_curve(levels: Sequence[float], correct: ArrayLike) -> RobustnessCurve:
    r"""Draw the accuracy over levels from the answers to the same images at each level.

    For levels l_1 < … < l_n and accuracies a_i, the area is::

        sum_i (a_i + a_{i+1}) / 2 (l_{i+1} - l_i) / (l_n - l_1)

    Args:
        levels: of the perturbation, at least two.
        correct: right or wrong, (levels, images).

    Returns:
        The curve, by rising level.

    Raises:
        UserError: there are fewer than two levels, or one is there twice.
        ValueError: correct has not one row a level.

    Example:
        >>> robustness_curve([0, 1], [[True, True], [True, False]]).area.mean
        0.75
    """
    answers = np.asarray(correct, dtype=np.float64)
    if len(levels) < 2 or len(set(levels)) < len(levels):
        raise UserError(f"robustness_curve: need two different levels or more, got {list(levels)}.")
    if answers.ndim != 2 or len(answers) != len(levels):
        raise ValueError(f"robustness_curve: correct must be ({len(levels)} levels, images), got {answers.shape}.")
    order = np.argsort(levels)
    places, answers = np.asarray(levels, dtype=np.float64)[order], answers[order]
    steps = np.diff(places)[:, None] / (places[-1] - places[0])
    below = ((answers[1:] + answers[:-1]) / 2 * steps).sum(axis=0)
    accuracy = tuple(wilson_interval(int(row.sum()), len(row)) for row in answers)
    return RobustnessCurve(tuple(places.tolist()), accuracy, bootstrap_interval(below))
