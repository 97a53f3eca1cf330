"""How well a first-order screen ranks what running the model again shows."""

from dataclasses import dataclass

import torch
from scipy.stats import spearmanr

from mamba_mender.inspection.causality.patching import Patching
from mamba_mender.inspection.result import Result


@dataclass(frozen=True)
class Agreement(Result):
    """A screen against the truth, over all blocks and positions.

    rank_correlation: Spearman's, of the mean effects; 1 is the same order, 0 none, NaN where one of them is constant.
    chance: the 95th percentile of it when the truth is shuffled.
    sign_agreement: share of effects of one sign, among those that are not 0 in truth.
    relative_error: ``|screen - truth| / |truth|``, Euclidean.
    """

    rank_correlation: float
    chance: float
    sign_agreement: float
    relative_error: float


def agreement(screen: Patching, truth: Patching, *, shuffles: int = 200, seed: int = 0) -> Agreement:
    """Compare the mean effects of two ways of patching the same places.

    Args:
        screen: from :func:`attribution_patching`.
        truth: from :func:`activation_patching`.
        shuffles: how often the truth is shuffled for the level of chance.
        seed: of the shuffling.

    Raises:
        ValueError: they are not of the same node, mode, blocks and positions.

    Source: Kramár et al., "AtP*" (arXiv:2403.00745), section 2, on where the first order fails.
    """
    same = ("node", "mode", "direction", "blocks", "positions")
    differ = [name for name in same if getattr(screen, name) != getattr(truth, name)]
    if differ:
        raise ValueError(f"agreement: both must patch the same places, but their {', '.join(differ)} differ.")
    a, b = (p.effect.mean(-1).flatten().double() for p in (screen, truth))
    draw = torch.Generator().manual_seed(seed)
    shuffled = [_rank_correlation(a, b[torch.randperm(len(b), generator=draw)]) for _ in range(shuffles)]
    there = b != 0
    return Agreement(
        rank_correlation=_rank_correlation(a, b),
        chance=torch.tensor(shuffled).quantile(0.95).item(),
        sign_agreement=(a.sign() == b.sign())[there].double().mean().item(),
        relative_error=((a - b).norm() / b.norm()).item(),
    )


def _rank_correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    if len(a) < 2 or bool((a == a[0]).all()) or bool((b == b[0]).all()):
        return float("nan")
    return float(spearmanr(a.cpu().numpy(), b.cpu().numpy())[0])  # pyright: ignore[reportArgumentType]
