"""Centred kernel alignment of two sets of features, unbiased."""

import torch
from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.similarity.linear_hsic import linear_hsic


def linear_cka(x: Tensor, y: Tensor) -> Tensor:
    r"""Compare two sets of features up to rotation, shift and scale::

        CKA = HSIC_1(x, y) / sqrt(HSIC_1(x, x) HSIC_1(y, y))

    1 for features that are each other's rotation; 0 in the mean for independent ones, and sometimes a little
    below 0. The usual, biased estimate gives 0.2 for independent features of 32 samples, and more for fewer.

    Args:
        x: features, (samples, p).
        y: features of the same samples, (samples, q).

    Returns:
        The similarity in float64, (); NaN where a side is constant.

    Raises:
        ValueError: shapes disagree, or there are fewer than four samples.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [1.0, 1.0], [0.0, 0.5]])
        >>> round(linear_cka(x, 3 * x.flip(1) + 1).item(), 6)
        1.0

    Source: Kornblith et al. (ICML 2019), with HSIC_1 of Song et al. (2012) as in Nguyen et al. (ICLR 2021).
    """
    check_axes("linear_cka", {}, x=(x, "samples p"), y=(y, "samples q"))
    return normalise(linear_hsic(x, y), _own(x), _own(y))


def normalise(both: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Divide HSIC(x, y) by the root of HSIC(x, x) HSIC(y, y); NaN where one of these is not above 0."""
    alive = (one > 0) & (other > 0)
    return torch.where(alive, both / (one.clamp_min(0) * other.clamp_min(0)).sqrt(), torch.nan)


def _own(x: Tensor) -> Tensor:
    """Take the HSIC of features with themselves, exactly 0 for constant ones."""
    return torch.zeros((), dtype=torch.float64) if (x == x[:1]).all() else linear_hsic(x, x)
