"""Tokens of a batch as rows, without padding."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.result import Result


@dataclass(frozen=True, eq=False)
class TokenRows(Result):
    """The real tokens of a batch, one after the other.

    rows: their values in float64, (rows, channels).
    sequence: number of the input that each belongs to, rising, (rows).
    """

    rows: Tensor
    sequence: Tensor


def token_rows(values: Tensor, mask: Tensor | None = None) -> TokenRows:
    """Put the tokens of a batch under each other and leave padding out.

    Args:
        values: of each token, (batch, tokens, channels) or (batch, tokens).
        mask: True at real tokens, (batch, tokens); None where nothing is padded.

    Returns:
        The rows, detached, on the CPU. An input of padding alone has no row and no number.

    Raises:
        ValueError: shapes disagree, or no token is real.

    Example:
        >>> mask = torch.tensor([[False, True], [True, True]])
        >>> found = token_rows(torch.arange(4.0).view(2, 2), mask)
        >>> found.rows[:, 0].tolist(), found.sequence.tolist()
        ([1.0, 2.0, 3.0], [0, 1, 1])
    """
    if values.dim() == 2:
        values = values[..., None]
    check_axes("token_rows", {}, values=(values, "batch tokens channels"), mask=(mask, "batch tokens"))
    values = values.detach().cpu()
    real = torch.ones(values.shape[:2], dtype=torch.bool) if mask is None else mask.cpu()
    if not real.any():
        raise ValueError(f"token_rows: none of the {real.numel()} tokens is real.")
    number = torch.arange(len(values))[:, None].expand(real.shape)[real]
    return TokenRows(values[real].double(), number.unique(return_inverse=True)[1])
