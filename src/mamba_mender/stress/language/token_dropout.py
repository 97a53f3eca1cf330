"""Tokens that are lost on the way to a model."""

import torch
from torch import Tensor

from mamba_mender._check import UserError
from mamba_mender.data.seeding import generator_for
from mamba_mender.stress.language.character_noise import check_rate


def token_dropout(ids: Tensor, rate: float, *, fill: int | None = None, seed: int = 0) -> Tensor:
    """Lose tokens, each with the same chance.

    What is lost at a rate is also lost at a higher rate under the same seed.

    Args:
        ids: token numbers, (length); with `fill` of any shape.
        rate: chance of each token to be lost.
        fill: what is put in the place of a lost token, such as that of an unknown one; None takes it out.
        seed: of the draws.

    Returns:
        A new tensor of token numbers; shorter than `ids` if tokens are taken out.

    Raises:
        UserError: the rate is no share, or the ids are not token numbers of one sequence.

    Example:
        >>> token_dropout(torch.arange(5), 1.0, fill=9), token_dropout(torch.arange(5), 0.0)
        (tensor([9, 9, 9, 9, 9]), tensor([0, 1, 2, 3, 4]))
    """
    check_rate("token_dropout", rate)
    if ids.is_floating_point() or ids.dtype == torch.bool or (fill is None and ids.dim() != 1):
        need = "whole numbers, (length)" if fill is None else "whole numbers"
        raise UserError(f"token_dropout: ids must be {need}, got {ids.dtype} of shape {tuple(ids.shape)}.")
    draws = generator_for(seed, "token dropout")
    lost = (torch.rand(ids.shape, dtype=torch.float64, generator=draws) < rate).to(ids.device)
    return ids[~lost] if fill is None else ids.masked_fill(lost, fill)
