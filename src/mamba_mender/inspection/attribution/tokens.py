"""Which tokens count when relevance is judged, and in which order."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def own_tokens(model: nn.Module, like: Tensor, mask: Tensor | None) -> Tensor:
    """Find the tokens that stand for a piece of the input: neither padding nor a class token.

    Args:
        model: the model; its class_token_index is left out.
        like: (batch, tokens, ...).
        mask: True at real tokens, (batch, tokens).

    Returns:
        Boolean, (batch, tokens).

    Raises:
        ValueError: a sample has no such token.

    Example:
        >>> own_tokens(nn.Identity(), torch.zeros(1, 2), torch.tensor([[True, False]]))
        tensor([[ True, False]])
    """
    found = torch.ones(like.shape[:2], dtype=torch.bool, device=like.device) if mask is None else mask.bool().clone()
    index = getattr(model, "class_token_index", None)
    if isinstance(index, int):
        found[:, index] = False
    if not found.any(1).all():
        raise ValueError("faithfulness: a sample has no token to replace; leave it out.")
    return found


def rank_tokens(relevance: Tensor, allowed: Tensor, *, seed: int = 0) -> Tensor:
    """Number the tokens of each sample from the most relevant, 0, to the least.

    Ties are broken at random; tokens that are not allowed come last.

    Args:
        relevance: (..., batch, tokens).
        allowed: boolean, (batch, tokens).
        seed: of the order of ties.

    Returns:
        Ranks, int64, (..., batch, tokens).

    Raises:
        ValueError: a relevance is NaN.

    Example:
        >>> rank_tokens(torch.tensor([[0.5, 2.0, 1.0]]), torch.tensor([[True, True, False]]))
        tensor([[1, 0, 2]])
    """
    if relevance.isnan().any():
        raise ValueError("rank_tokens: a relevance is NaN; look at the attribution's check.")
    draw = torch.Generator().manual_seed(seed)
    mixed = torch.rand(relevance.shape, generator=draw).argsort(-1).to(relevance.device)
    shown = relevance.masked_fill(~allowed, -torch.inf).gather(-1, mixed)
    order = mixed.gather(-1, shown.argsort(dim=-1, descending=True, stable=True))
    counts = allowed.expand_as(order).gather(-1, order)  # last even after an allowed token of relevance -inf
    order = order.gather(-1, counts.long().argsort(dim=-1, descending=True, stable=True))
    return order.argsort(-1)


def masks_on_tokens(model: nn.Module, masks: Tensor) -> Tensor:
    """Say how much of each token's patch lies in a mask; 0 for a class token.

    Args:
        model: an image model with a grid of patches; with class_token_index if it has a class token.
        masks: True or 1 inside, (batch, 1, height, width).

    Returns:
        Shares in [0, 1], (batch, tokens).

    Raises:
        ValueError: the model has no grid.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=2, img_size=8)
        >>> masks_on_tokens(model, torch.ones(1, 1, 8, 8))
        tensor([[1., 1., 1., 1.]])
    """
    grid = getattr(model, "grid", None)
    if grid is None:
        raise ValueError(f"masks_on_tokens: {type(model).__name__} has no grid of patches; give masks on tokens.")
    embed = getattr(model, "patch_embed", None)
    shares = F.adaptive_avg_pool2d(masks.float(), grid)[:, 0] if embed is None else embed.share(masks)
    shares, index = shares.flatten(1), getattr(model, "class_token_index", None)
    if not isinstance(index, int):
        return shares
    return torch.cat([shares[:, :index], torch.zeros_like(shares[:, :1]), shares[:, index:]], 1)
