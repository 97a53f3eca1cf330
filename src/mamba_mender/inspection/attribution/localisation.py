"""Whether relevance lies where a mask says that the evidence is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.attribution.against_random import AgainstRandom, against_random
from mamba_mender.inspection.attribution.tokens import rank_tokens
from mamba_mender.inspection.result import Result


@dataclass(frozen=True, eq=False)
class Localisation(Result):
    """How relevance agrees with a mask, beside the same relevance in random places.

    pointing: whether the most relevant token lies inside (the pointing game), 0 or 1; for ties, their share inside.
    iou: overlap of as many of the most relevant tokens as lie inside with those inside, in [0, 1].
    mass: share of the positive relevance that lies inside, in [0, 1].
    inside: share of the tokens that lie inside, (batch): what chance gives for pointing and mass.
    """

    pointing: AgainstRandom
    iou: AgainstRandom
    mass: AgainstRandom
    inside: Tensor


@torch.no_grad()
def localisation(
    relevance: Tensor,
    masks: Tensor,
    *,
    allowed: Tensor | None = None,
    least: float = 0.5,
    draws: int = 100,
    seed: int = 0,
) -> Localisation:
    """Compare relevance with the tokens where the evidence lies.

    Computes, with inside the tokens of which at least a share `least` lies in the mask, and top the equally many
    most relevant tokens::

        pointing  argmax R is inside
        iou       |top and inside| / |top or inside|
        mass      sum over inside of R^+ / sum of R^+

    each beside the same numbers of relevance whose tokens are permuted at random.

    Args:
        relevance: (batch, tokens).
        masks: share of each token inside the mask, in [0, 1], (batch, tokens); see :func:`masks_on_tokens`.
        allowed: which tokens count, (batch, tokens); leave out class token and padding. None takes all.
        least: how much of a token must be inside.
        draws: number of permutations.
        seed: of the permutations, and of the order of ties.

    Returns:
        The three numbers of each sample, with their gain over permuted relevance.

    Raises:
        ValueError: shapes disagree, a relevance is NaN, or a sample has no token inside.

    Example:
        >>> found = localisation(torch.tensor([[0.1, 3.0, 0.2]]), torch.tensor([[0.0, 1.0, 0.0]]))
        >>> found.pointing.value.item(), found.iou.value.item(), round(found.mass.value.item(), 2)
        (1.0, 1.0, 0.91)

    Source: Zhang et al. 2018, "Top-down neural attention by excitation backprop", section 4.1 (pointing game); Arras
    et al. 2022 (arXiv:2003.07258), section 3 (mass).
    """
    check_axes("localisation", sizes := {}, relevance=(relevance, "batch tokens"), masks=(masks, "batch tokens"))
    check_axes("localisation", sizes, allowed=(allowed, "batch tokens"))
    allowed = torch.ones_like(relevance, dtype=torch.bool) if allowed is None else allowed.bool()
    inside = (masks >= least) & allowed
    if not inside.any(1).all():
        raise ValueError(
            f"localisation: sample {int((~inside.any(1)).int().argmax())} has no token of which {least} lies in its "
            "mask; lower least, or leave the sample out."
        )
    places = torch.rand(draws, *relevance.shape, generator=torch.Generator().manual_seed(seed)).to(relevance.device)
    permuted = relevance.expand_as(places).gather(-1, _permutation(places, allowed))
    found = [
        against_random(function(relevance, inside, allowed, seed).double(), function(permuted, inside, allowed, seed))
        for function in (_pointing, _iou, _mass)
    ]
    return Localisation(*found, inside=inside.sum(1).double() / allowed.sum(1))


def _permutation(random: Tensor, allowed: Tensor) -> Tensor:
    """Permute the allowed tokens among themselves, and the others too, which do not count, (draws, batch, tokens)."""
    drawn = random.masked_fill(~allowed, torch.inf).argsort(dim=-1)  # allowed tokens first, in random order
    slots = (~allowed).long().argsort(dim=-1, stable=True).expand_as(drawn)  # allowed tokens first, in their order
    return torch.empty_like(drawn).scatter_(-1, slots, drawn)


def _pointing(relevance: Tensor, inside: Tensor, allowed: Tensor, _seed: int) -> Tensor:
    shown = relevance.masked_fill(~allowed, -torch.inf)
    top = (shown == shown.amax(-1, keepdim=True)) & allowed
    return (top & inside).sum(-1).double() / top.sum(-1)


def _iou(relevance: Tensor, inside: Tensor, allowed: Tensor, seed: int) -> Tensor:
    top = rank_tokens(relevance, allowed, seed=seed) < inside.sum(-1, keepdim=True)
    return (top & inside).sum(-1).double() / (top | inside).sum(-1)


def _mass(relevance: Tensor, inside: Tensor, allowed: Tensor, _seed: int) -> Tensor:
    """Share of the positive relevance inside; relevance without any counts as even."""
    positive = relevance.double().relu().masked_fill(~allowed, 0)
    positive = torch.where(positive.sum(-1, keepdim=True) > 0, positive, allowed.double())
    return (positive * inside).sum(-1) / positive.sum(-1)
