"""Which patterns of a sequence of states come again, by recurrence quantification."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from mamba_mender._check import nearest
from mamba_mender.inspection.evolution.sequences import check_states
from mamba_mender.inspection.result import Result

Of = Literal["change", "state"]


@dataclass(frozen=True, eq=False)
class Recurrence(Result):
    """How often a sequence comes back to where it was, and whether it then goes on alike.

    rate: share of pairs of different steps that are near, (batch).
    determinism: share of near pairs that lie on a diagonal line, so that also the steps before or after are near;
        NaN where no pair is near, (batch).
    null_determinism: the same with the steps shuffled, mean over surrogates, (batch).
    p_value: share of surrogates, the truth itself counted, with at least this determinism; NaN where it is, (batch).
    radius: distance up to which a pair is near, (batch).
    motifs: the longest lines, longest first: (start, start of the repeat, length) in steps of the sequence,
        one list an input.
    plot: the recurrence plot of the first input: which pairs are near, bool, (steps, steps).
    """

    rate: Tensor
    determinism: Tensor
    null_determinism: Tensor
    p_value: Tensor
    radius: Tensor
    motifs: list[list[tuple[int, int, int]]]
    plot: Tensor


def recurrence(
    sequence: Tensor,
    *,
    of: Of = "change",
    mask: Tensor | None = None,
    rate: float = 0.1,
    radius: float | None = None,
    shortest: int = 2,
    motifs: int = 5,
    surrogates: int = 99,
    seed: int = 0,
) -> Recurrence:
    r"""Measure recurrence rate and determinism of a sequence of states, over tokens or over blocks.

    With v_t the states, or their changes x_t - x_{t-1}, and R_ij = 1 where |v_i - v_j| <= radius::

        rate = mean of R_ij over i < j
        determinism = sum of lengths of diagonal lines of at least ``shortest`` / sum of all R_ij, i < j

    A line R_{i,j}, R_{i+1,j+1}, .. is a motif of state change that starts at i and is repeated at j. Shuffling the
    steps keeps the rate and destroys the lines. For motifs over depth give ``torch.stack(states, 2).flatten(0, 1)``,
    (batch x tokens, blocks, channels).

    Args:
        sequence: (batch, steps, channels).
        of: "change" or "state".
        mask: True at real steps, (batch, steps); None where nothing is padded.
        rate: choose each input's radius so that this share of pairs is near; above it where distances are equal.
        radius: a fixed radius instead.
        shortest: length from which a line counts.
        motifs: how many of the longest lines to list.
        surrogates: shuffled sequences to compare with.
        seed: of the shuffles.

    Returns:
        The quantities of each input.

    Raises:
        ValueError: a shape or setting is wrong, an input has too few real steps, or a value is not finite.

    Example:
        >>> wave = torch.tensor([0.0, 1.0, 3.0, 7.0]).repeat(5)[None, :, None]
        >>> result = recurrence(wave, of="state", radius=0.5)
        >>> result.determinism.item(), result.motifs[0][0]  # it repeats every 4 steps, to the end
        (1.0, (0, 4, 16))

    Source: Marwan et al., "Recurrence plots for the analysis of complex systems" (Physics Reports 438, 2007),
    equations 36 and 44 (their determinism also counts i > j, which doubles both sums).
    """
    real = check_states("recurrence", [sequence], mask)
    _check(real, of, rate, shortest, surrogates)
    draw = torch.Generator().manual_seed(seed)
    rows = []
    for steps, kept in zip(sequence.detach().double(), real, strict=True):
        values = steps[kept].diff(dim=0) if of == "change" else steps[kept]
        distance = torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist")
        pairs = distance[torch.ones_like(distance).triu(1).bool()]
        limit = float(_quantile(pairs, rate)) if radius is None else radius
        near = distance <= limit
        found = _determinism(near, shortest)
        orders = [torch.randperm(len(near), generator=draw) for _ in range(surrogates)]
        null = torch.stack([_determinism(near[order][:, order], shortest) for order in orders])
        p_value = (1 + (null >= found).sum().double()) / (1 + surrogates) if not found.isnan() else found
        rows.append(((pairs <= limit).double().mean(), found, null.mean(), p_value, limit, near))
    share, determinism, null_mean, p_values = (torch.stack([row[k] for row in rows]) for k in range(4))
    return Recurrence(
        rate=share,
        determinism=determinism,
        null_determinism=null_mean,
        p_value=p_values,
        radius=torch.tensor([row[4] for row in rows], dtype=torch.float64),
        motifs=[_longest(row[5], shortest, motifs) for row in rows],
        plot=rows[0][5],
    )


def _check(real: Tensor, of: str, rate: float, shortest: int, surrogates: int) -> None:
    if of not in get_args(Of):
        raise ValueError(f"recurrence: of must be 'change' or 'state', got {of!r}; {nearest(of, get_args(Of))}.")
    if not 0 < rate < 1 or shortest < 2 or surrogates < 1:
        raise ValueError(
            f"recurrence: rate must lie between 0 and 1, shortest be at least 2 and surrogates at least 1, "
            f"got {rate}, {shortest} and {surrogates}."
        )
    least, fewest = 3 + (of == "change"), int(real.sum(1).min())
    if fewest < least:
        raise ValueError(f"recurrence: each input needs at least {least} real steps, but one has {fewest}.")


def _quantile(values: Tensor, share: float) -> Tensor:
    """Take the distance up to which a share of pairs lies; torch.quantile refuses long inputs."""
    return values.kthvalue(max(1, round(share * len(values)))).values


def _determinism(near: Tensor, shortest: int) -> Tensor:
    """Compute the share of near pairs i < j that lie on a diagonal line of at least the shortest length."""
    upper = near.triu(1)
    total = upper.sum()
    if not total:
        return torch.tensor(torch.nan, dtype=torch.float64, device=near.device)
    steps = len(near)
    starts = upper  # of a line that is long enough: this pair and those after it are near
    for _ in range(shortest - 1):
        after = torch.zeros_like(upper)
        after[: steps - 1, : steps - 1] = starts[1:, 1:]
        starts = upper & after
    covered = starts
    for _ in range(shortest - 1):
        before = torch.zeros_like(upper)
        before[1:, 1:] = covered[: steps - 1, : steps - 1]
        covered = starts | before
    return covered.sum().double() / total


def _longest(near: Tensor, shortest: int, count: int) -> list[tuple[int, int, int]]:
    """List the longest lines; of equally long ones the earliest."""
    length = near.triu(1).long().cpu()  # how many near pairs in a row end at this pair
    for row in range(1, len(length)):
        length[row, 1:] += length[row - 1, :-1] * length[row, 1:]
    goes_on = torch.zeros_like(length, dtype=torch.bool)
    goes_on[:-1, :-1] = length[1:, 1:] > 0
    ends = length * ~goes_on
    found = [(int(ends[i, j]), i, j) for i, j in (ends >= shortest).nonzero().tolist()]
    lines = [(i - size + 1, j - size + 1, size) for size, i, j in found]
    return sorted(lines, key=lambda line: (-line[2], line[0], line[1]))[:count]
