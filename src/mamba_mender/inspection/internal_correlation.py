"""Internal correlation (Grad-ISC): which channels of a state correlate with the prediction."""

from typing import Literal

from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.sign import Sign, signed_product


def internal_correlation(
    state: Tensor, gradient: Tensor, *, token: int | Literal["mean"], sign: Sign = "rectified-product"
) -> Tensor:
    r"""Measure how much each channel of a state correlates with the prediction.

    With s the state, g the gradient of the target by it, n a token and d a channel::

        i_nd = r(g_nd, s_nd)

    where the sign rule r is g s ("signed", the paper's definition), ReLU(g s)
    ("rectified-product", the default) or ReLU(g) ReLU(s) ("authors", as in the authors' code).
    The paper prints s_n in the product for the state x; x_n is meant, as its caption and code have it.

    Args:
        state: a recorded state of one direction, (batch, tokens, channels).
        gradient: the gradient of each sample's target by it, in the same shape.
        token: which token n: the class token's index, or "mean" for the mean of i over all tokens,
            which models that pool by the mean need.
        sign: the sign rule.

    Returns:
        The correlation of each channel, differentiable, (batch, channels).

    Raises:
        ValueError: shapes disagree, there is no such token, or the sign rule is unknown.

    Example:
        >>> import torch
        >>> state = torch.tensor([[[1.0, 2.0], [3.0, -4.0]]])
        >>> gradient = torch.tensor([[[1.0, 0.0], [3.0, -2.0]]])
        >>> internal_correlation(state, gradient, token=1)
        tensor([[9., 8.]])

    Source: Vision Mamba Mender (NeurIPS 2024), Grad-ISC, before Definition 2.
    """
    axes = "batch tokens channels"
    check_axes("internal_correlation", sizes := {}, state=(state, axes), gradient=(gradient, axes))
    if token == "mean":
        return signed_product("internal_correlation", state, gradient, sign).mean(1)
    if not isinstance(token, int) or not 0 <= token < sizes["tokens"]:
        raise ValueError(
            f"internal_correlation: token must be 'mean' or lie in 0..{sizes['tokens'] - 1}, got {token!r}."
        )
    return signed_product("internal_correlation", state[:, token], gradient[:, token], sign)
