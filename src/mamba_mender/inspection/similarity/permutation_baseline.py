"""What a statistic would be by chance: the same statistic in orders that break every relation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from mamba_mender.inspection.result import Result
from mamba_mender.inspection.similarity.exchange import Exchange, check_exchange, draw_order

Alternative = Literal["greater", "two-sided"]

LEVELS = (0.05, 0.5, 0.95)
MOST_KEPT = 4_000_000  # numbers of the null kept for quantiles, 32 MB; beyond that only counts and maxima
TIE = 1e-9  # a relative difference that is rounding: two orders with the same statistic are a tie


@dataclass(frozen=True, eq=False)
class Baseline(Result):
    """A statistic beside what it is by chance.

    Entries are the numbers that the statistic consists of, e.g. one for each pair of channels.

    observed: the statistic in the order that was found, (...).
    null_mean: its mean by chance, (...).
    null_quantiles: its quantiles by chance, (levels, ...), or None where entries x permutations are too many to keep.
    levels: the levels of the quantiles.
    p_value: probability of a value as extreme by chance, each entry for itself, (...); never 0, NaN where undefined.
    null_maximum: the most extreme entry in each permutation, (permutations); above the centre if two-sided.
    adjusted_p: probability that chance makes ANY entry as extreme as this one, (...).
    centre: the value of no relation, from which a two-sided statistic is measured.
    permutations: how many orders were drawn.
    """

    observed: Tensor
    null_mean: Tensor
    null_quantiles: Tensor | None
    levels: tuple[float, ...]
    p_value: Tensor
    null_maximum: Tensor
    adjusted_p: Tensor
    centre: float
    permutations: int

    def threshold(self, level: float = 0.05) -> float:
        """Give the distance from the centre that the most extreme entry passes by chance with this probability."""
        return torch.quantile(self.null_maximum, 1 - level).item()


def permutation_baseline(
    statistic: Callable[[Tensor], Tensor],
    sequence: Tensor | int,
    *,
    exchange: Exchange = "rows",
    permutations: int = 200,
    seed: int | Generator = 0,
    alternative: Alternative = "two-sided",
    centre: float = 0.0,
    family: Tensor | None = None,
) -> Baseline:
    r"""Compare a statistic with itself in random orders.

    With s_0 the statistic as found, s_1 .. s_P in random orders, and d(s) = s, or \|s - centre\| if two-sided::

        p         = (1 + #{k: d(s_k) >= d(s_0)}) / (1 + P)
        adjusted  = (1 + #{k: max over entries d(s_k) >= d(s_0)}) / (1 + P)

    A p-value of 0 does not exist: the order that was found is one of the possible orders. The adjusted one answers
    "the largest of a million correlations is 0.9: is that anything?"

    Args:
        statistic: takes an order of the rows of one side, (rows), and gives numbers, (...), best in float64; the other
            side stays.
        sequence: number of the input that each row belongs to, (rows); or the number of rows, each for itself.
        exchange: what may be exchanged, see :func:`draw_order`.
        permutations: how many orders.
        seed: a number, or a generator on the CPU.
        alternative: whether only larger values are more extreme, or both sides.
        centre: the value of no relation, for "two-sided".
        family: which entries the maximum runs over, (...), e.g. one triangle; None takes all.

    Returns:
        The statistic with its null.

    Raises:
        ValueError: permutations is below 1, the alternative is unknown, or the exchange can change nothing.

    Example:
        >>> x = torch.arange(8.0)
        >>> found = permutation_baseline(lambda order: (x * x[order]).sum(), 8, permutations=99, alternative="greater")
        >>> found.observed.item(), round(found.p_value.item(), 2)
        (140.0, 0.01)

    Source: Phipson & Smyth (2010), the +1; Westfall & Young (1993), the null of the maximum.
    """
    if isinstance(sequence, int):
        sequence = torch.arange(sequence) if exchange == "inputs" else torch.zeros(sequence, dtype=torch.long)
    if permutations < 1:
        raise ValueError(f"permutation_baseline: permutations must be at least 1, got {permutations}.")
    if alternative not in ("greater", "two-sided"):
        raise ValueError(f"permutation_baseline: alternative must be 'greater' or 'two-sided', got {alternative!r}.")
    check_exchange("permutation_baseline", sequence, exchange)
    generator = seed if isinstance(seed, Generator) else Generator().manual_seed(seed)

    def extreme(value: Tensor) -> Tensor:
        return value if alternative == "greater" else (value - centre).abs()

    observed = statistic(torch.arange(len(sequence))).double()
    bar = extreme(observed) - TIE * extreme(observed).abs()
    exceeding, adjusted, total = torch.zeros_like(bar), torch.zeros_like(bar), torch.zeros_like(bar)
    kept: list[Tensor] | None = [] if observed.numel() * permutations <= MOST_KEPT else None
    maxima = []
    for _ in range(permutations):
        value = statistic(draw_order(sequence, exchange, generator)).double()
        distance = extreme(value)
        members = distance if family is None else distance[family]
        most = members.nan_to_num(-torch.inf).max()
        exceeding += ~(distance < bar)  # an undefined value counts as extreme
        adjusted += most >= bar
        total += value
        maxima.append(most)
        if kept is not None:
            kept.append(value)
    undefined = observed.isnan()
    levels = torch.tensor(LEVELS, dtype=observed.dtype)
    return Baseline(
        observed=observed,
        null_mean=total / permutations,
        null_quantiles=None if kept is None else torch.stack(kept).quantile(levels, dim=0),
        levels=LEVELS,
        p_value=((1 + exceeding) / (1 + permutations)).masked_fill(undefined, torch.nan),
        null_maximum=torch.stack(maxima),
        adjusted_p=((1 + adjusted) / (1 + permutations)).masked_fill(undefined, torch.nan),
        centre=centre if alternative == "two-sided" else 0.0,
        permutations=permutations,
    )
