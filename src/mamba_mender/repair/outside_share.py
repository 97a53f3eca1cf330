"""The share of a relevance that lies where it should not."""

import torch
from torch import Tensor

from mamba_mender._check import check_axes


def outside_share(relevance: Tensor, inside: Tensor) -> Tensor:
    r"""Compute the share of each sample's relevance that lies outside.

    ``share_b = sum_n r_bn (1 - m_bn) / sum_n r_bn``, so 0 when all of it is inside, 1 when all
    is outside, and the same whatever the relevance's scale. A sample without any relevance has
    nothing outside: its share is 0.

    Args:
        relevance: of each token or channel, never negative, (batch, items).
        inside: how much of the item is inside, in [0, 1], (batch, items).

    Returns:
        The share in [0, 1], (batch,).

    Raises:
        ValueError: shapes disagree.

    Example:
        >>> outside_share(torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.2500])
    """
    check_axes("outside_share", {}, relevance=(relevance, "batch items"), inside=(inside, "batch items"))
    outside = (relevance * (1 - inside.to(relevance.dtype))).sum(1)
    total = relevance.sum(1)
    felt = total > 0
    return torch.where(felt, outside / torch.where(felt, total, 1), 0)
