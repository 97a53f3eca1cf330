"""Internal score: are the active channels few, and are they the same in all samples of a class?"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class InternalScore:
    """How simple and how shared the active channels of a class are.

    simplicity: 1 - share of active channels, (...); 0 when all are active in all samples, 1 when none is.
    homogeneity: mean, over the channels active in any sample, of the share of samples in which they
        are active, (...); 1 when all samples agree, 1 / samples when no two share a channel, and 0
        when no channel is ever active.
    authors_score: what the authors' code computes, (...). It divides homogeneity by the share of active
        channels, and their sum cancels: it is channels / channels ever active, and 0 when none is.
    """

    simplicity: Tensor
    homogeneity: Tensor
    authors_score: Tensor

    @property
    def score(self) -> Tensor:
        """Simplicity times homogeneity, in [0, 1], (...)."""
        return self.simplicity * self.homogeneity

    def to_dict(self) -> dict[str, Any]:
        """Turn the scores into lists that JSON can hold."""
        names = ("simplicity", "homogeneity", "score", "authors_score")
        return {name: getattr(self, name).tolist() for name in names}


def internal_score(binary: Tensor) -> InternalScore:
    r"""Score the binarised internal correlations of samples of one class, or of several.

    With b_jd whether channel d is active in sample j of J, p_d = mean_j b_jd, and U the channels
    with p_d > 0, of D::

        simplicity     1 - mean_d p_d
        homogeneity    sum_d p_d / |U|
        authors_score  homogeneity / mean_d p_d = D / |U|

    The paper's Definition 2 multiplies the mean of p by the homogeneity, which would reward
    activity; its code and figures divide. The quotient counts channels and knows nothing of
    agreement, so both parts are given.

    Args:
        binary: active channels, boolean, (..., samples, channels), e.g. (classes, samples, channels).

    Returns:
        The scores, each (...).

    Raises:
        ValueError: binary is not boolean, or has no sample or channel.

    Example:
        >>> score = internal_score(torch.tensor([[True, False, False, False], [True, True, False, False]]))
        >>> score.simplicity, score.homogeneity, score.authors_score
        (tensor(0.6250), tensor(0.7500), tensor(2.))

    Source: Vision Mamba Mender (NeurIPS 2024), Definition 2.
    """
    if binary.dtype != torch.bool:
        raise ValueError(f"internal_score: binary must be boolean, got {binary.dtype}; use binarise.")
    if binary.dim() < 2 or 0 in binary.shape[-2:]:
        raise ValueError(
            f"internal_score: binary must be (..., samples, channels), each at least 1, got {tuple(binary.shape)}."
        )
    share = binary.float().mean(-2)  # (..., channels)
    used = binary.any(-2).sum(-1)
    counted = used.clamp(min=1)
    authors = torch.where(used > 0, binary.shape[-1] / counted, 0.0)
    return InternalScore(1 - share.mean(-1), share.sum(-1) / counted, authors)
