"""External correlation (Grad-ESC): which tokens of a state correlate with the prediction."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.sign import Sign, signed_product


def external_correlation(
    state: Tensor | Sequence[Tensor],
    gradient: Tensor | Sequence[Tensor],
    grid: tuple[int, int],
    *,
    class_token: int | None = None,
    sign: Sign = "rectified-product",
    average_gradient: bool = True,
) -> Tensor:
    r"""Map how much each token of a state correlates with the prediction.

    With s the state, G the gradient of the target by it, n a token and d a channel::

        g_d = mean_n G_nd
        e_n = mean_d r(g_d, s_nd)

    where the sign rule r is g s ("signed", the paper's definition), ReLU(g s)
    ("rectified-product", the default: a channel counts where it raises the prediction, whatever
    the sign of the state) or, for "authors", ReLU(s) times the token mean of ReLU(G), as in the
    authors' code, which drops what raises the prediction with two negative signs.

    Averaging the gradient over the tokens, as definition and code do, keeps what the prediction
    asks of each channel and drops of which token it asks it: a token that the model never reads
    still scores if its state looks the part. With average_gradient=False, G_nd takes the place of
    g_d, and the map shows what the prediction would lose, to first order, with each token.

    A state of two scans may be given as one tensor per direction. By the paper's rules the map is
    then the mean of the directions' maps (d runs over the channels of both); by "authors" the
    directions' states and gradients are summed first. The class token takes part in the
    mean over tokens, as in the paper, and is then left out of the map.

    Args:
        state: a recorded state, or one per direction, in image order, (batch, tokens, channels).
        gradient: the gradient of each sample's target by it, in the same shape.
        grid: rows and columns of the patches.
        class_token: where in the tokens the class token lies; None if there is none.
        sign: the sign rule.
        average_gradient: whether the gradient is averaged over the tokens first.

    Returns:
        The map, differentiable, (batch, rows, columns).

    Raises:
        ValueError: shapes disagree, the tokens do not fill the grid, or the sign rule is unknown.

    Example:
        >>> state = torch.tensor([[[1.0, 2.0], [3.0, -4.0]]])
        >>> gradient = torch.tensor([[[1.0, 0.0], [3.0, -2.0]]])
        >>> external_correlation(state, gradient, (1, 2), sign="signed")
        tensor([[[0., 5.]]])

    Source: Vision Mamba Mender (NeurIPS 2024), Grad-ESC, before Definition 1.
    """
    states, gradients = _directions(state), _directions(gradient)
    if len(states) != len(gradients):
        raise ValueError(f"external_correlation: {len(states)} states came with {len(gradients)} gradients.")
    sizes: dict[str, int] = {}
    for one, other in zip(states, gradients, strict=True):
        axes = "batch tokens channels"
        check_axes("external_correlation", sizes, state=(one, axes), gradient=(other, axes))
    _check_grid(sizes["tokens"], grid, class_token)
    if sign == "authors":
        states, gradients = [torch.stack(states).sum(0)], [torch.stack(gradients).sum(0).relu()]
    if average_gradient:
        gradients = [one.mean(1, keepdim=True) for one in gradients]
    products = [signed_product("external_correlation", *both, sign) for both in zip(states, gradients, strict=True)]
    tokens = torch.stack(products).mean((0, 3))
    if class_token is not None:
        tokens = torch.cat([tokens[:, :class_token], tokens[:, class_token + 1 :]], dim=1)
    return tokens.unflatten(1, grid)


def _directions(given: Tensor | Sequence[Tensor]) -> list[Tensor]:
    found = [given] if isinstance(given, Tensor) else list(given)
    if not found:
        raise ValueError("external_correlation: needs a state and a gradient, got none.")
    return found


def _check_grid(tokens: int, grid: tuple[int, int], class_token: int | None) -> None:
    patches = grid[0] * grid[1]
    extra = 0 if class_token is None else 1
    if tokens != patches + extra:
        raise ValueError(
            f"external_correlation: the state has {tokens} tokens, but a grid of {grid[0]} x {grid[1]} patches"
            f"{' and a class token' if extra else ''} makes {patches + extra}; pass the model's grid and class_token."
        )
    if class_token is not None and not 0 <= class_token < tokens:
        raise ValueError(f"external_correlation: class_token must lie in 0..{tokens - 1}, got {class_token}.")
