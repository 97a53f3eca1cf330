"""Which neurons tell one class or token from the rest, beside chance."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.result import Result
from mamba_mender.inspection.similarity import Baseline, Exchange, permutation_baseline, ranks


@dataclass(frozen=True, eq=False)
class NeuronSelectivity(Result):
    """How well each neuron tells labels apart.

    labels: the labels, rising, (labels).
    counts: samples of each, (labels).
    eta_squared: share of a neuron's variance that lies between labels, 0 to 1, NaN for a constant neuron, (channels).
    d_prime: distance of a label's mean from the rest's, in standard deviations (root of the mean of both variances),
        infinite where neither varies and they differ, (labels, channels).
    auc: probability that a sample of the label is above one of the rest, ties by half, 0 to 1, (labels, channels).
    eta_baseline: of eta_squared under exchanged labels, (channels); only larger ones count.
    auc_baseline: of auc under exchanged labels, (labels, channels); both sides of 0.5 count.
    """

    labels: Tensor
    counts: Tensor
    eta_squared: Tensor
    d_prime: Tensor
    auc: Tensor
    eta_baseline: Baseline
    auc_baseline: Baseline


def neuron_selectivity(
    activation: Tensor,
    labels: Tensor,
    *,
    sequence: Tensor | None = None,
    exchange: Exchange = "rows",
    permutations: int = 200,
    seed: int | Generator = 0,
) -> NeuronSelectivity:
    r"""Measure how each neuron's activation depends on the label of the sample.

    With m the mean of all samples, m_c and v_c mean and variance of label c, n_c its number, and r the rest::

        eta^2 = sum_c n_c (m_c - m)^2 / sum_i (a_i - m)^2
        d'_c  = (m_c - m_r) / sqrt((v_c + v_r) / 2)
        AUC_c = P(a in c > a in r) + P(equal) / 2

    eta^2 of pure chance is (labels - 1) / (samples - 1), not 0; the baseline shows it.

    Args:
        activation: one row a sample, (samples, channels): an image's pooled state, or a token's.
        labels: class or token number of each, whole numbers, (samples); at least two, each at least twice.
        sequence: for tokens, the input each belongs to, rising, (samples), as :func:`token_rows` gives it.
        exchange: what chance exchanges, see :func:`draw_order`; "rotation" for tokens, which resemble their neighbours.
        permutations: how many orders are drawn.
        seed: a number or a generator.

    Returns:
        The selectivities with their baselines.

    Raises:
        ValueError: shapes disagree, or there are fewer than two labels, or a label has a single sample.

    Example:
        >>> activation = torch.tensor([[0.0], [1.0], [4.0], [5.0]])
        >>> found = neuron_selectivity(activation, torch.tensor([0, 0, 1, 1]), permutations=9)
        >>> found.auc[:, 0].tolist(), round(found.eta_squared.item(), 3)
        ([0.0, 1.0], 0.941)

    Source: Green & Swets, Signal Detection Theory (1966), d'; Mann & Whitney (1947), AUC.
    """
    check_axes("neuron_selectivity", sizes := {}, activation=(activation, "samples channels"))
    check_axes("neuron_selectivity", sizes, labels=(labels, "samples"), sequence=(sequence, "samples"))
    kinds, number, counts = labels.cpu().unique(return_inverse=True, return_counts=True)
    if len(kinds) < 2 or counts.min() < 2:
        raise ValueError(
            "neuron_selectivity: needs at least two labels, each with two samples; leave rarer ones out. "
            f"Got {dict(zip(kinds.tolist(), counts.tolist(), strict=True))}."
        )
    generator = seed if isinstance(seed, Generator) else Generator().manual_seed(seed)
    values = activation.detach().cpu().double()
    centred = values - values.mean(0)
    total = centred.square().sum(0)
    constant = total.sqrt() <= 1e-12 * values.norm(dim=0)
    centred, total = centred.masked_fill(constant, 0.0), total.masked_fill(constant, 0.0)
    member = torch.nn.functional.one_hot(number, len(kinds)).double().T  # (labels, samples)
    ranked, rest = ranks(values), len(values) - counts

    def eta_squared(order: Tensor) -> Tensor:
        return ((member[:, order] @ centred).square() / counts[:, None]).sum(0) / total

    def auc(order: Tensor) -> Tensor:
        above = member[:, order] @ ranked - (counts * (counts + 1) / 2)[:, None]
        return above / (counts * rest)[:, None]

    rows = torch.zeros_like(number) if sequence is None else sequence.cpu()
    eta_baseline = permutation_baseline(
        eta_squared, rows, exchange=exchange, permutations=permutations, seed=generator, alternative="greater"
    )
    auc_baseline = permutation_baseline(
        auc, rows, exchange=exchange, permutations=permutations, seed=generator, centre=0.5
    )
    return NeuronSelectivity(
        labels=kinds,
        counts=counts,
        eta_squared=eta_baseline.observed,
        d_prime=_d_prime(centred, member, counts),
        auc=auc_baseline.observed,
        eta_baseline=eta_baseline,
        auc_baseline=auc_baseline,
    )


def _d_prime(centred: Tensor, member: Tensor, counts: Tensor) -> Tensor:
    """Give the distance of each label's mean from the rest's, (labels, channels); 0 where all are equal."""
    counts, rest = counts[:, None].double(), (member.shape[1] - counts)[:, None].double()
    mean, other = member @ centred / counts, (1 - member) @ centred / rest
    found = []
    for own, m, o in zip(member.bool(), mean, other, strict=True):
        variance = (centred[own] - m).square().mean(0) + (centred[~own] - o).square().mean(0)
        found.append(torch.where(m == o, 0.0, (m - o) / (variance / 2).sqrt()))
    return torch.stack(found)
