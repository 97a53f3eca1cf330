"""How alike the layers of a model are, beside chance."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from mamba_mender.inspection.result import Result
from mamba_mender.inspection.similarity.correlation import Method, standardise
from mamba_mender.inspection.similarity.exchange import Exchange
from mamba_mender.inspection.similarity.linear_cka import normalise
from mamba_mender.inspection.similarity.linear_hsic import FEWEST, centred_gram
from mamba_mender.inspection.similarity.permutation_baseline import Alternative, Baseline, permutation_baseline
from mamba_mender.inspection.similarity.token_rows import TokenRows, token_rows


@dataclass(frozen=True, eq=False)
class LayerSimilarity(Result):
    """How alike each two layers are.

    measure: "CKA", or "correlation" of the same channel.
    layers: their names, in the order of the axes.
    value: similarity, symmetric, 1 on the diagonal, NaN where a layer is constant; (layers, layers).
    baseline: the same with one of the two layers' tokens exchanged; its maximum runs over pairs of different layers.
    """

    measure: str
    layers: tuple[str, ...]
    value: Tensor
    baseline: Baseline


def cross_layer_cka(
    layers: Mapping[str, Tensor],
    *,
    mask: Tensor | None = None,
    within_inputs: bool = False,
    minibatch: int = 512,
    exchange: Exchange = "rotation",
    permutations: int = 200,
    seed: int | Generator = 0,
) -> LayerSimilarity:
    r"""Compare each two layers by unbiased linear CKA over tokens::

        CKA_ab = sum_m HSIC_1(a_m, b_m) / sqrt(sum_m HSIC_1(a_m, a_m)  sum_m HSIC_1(b_m, b_m))

    where m runs over minibatches of tokens, each spread over the whole set, so that memory is
    8 layers x tokens x minibatch bytes however many tokens there are. Being unbiased, the estimate does not depend
    on the size of the minibatches in the mean. The residual stream of neighbouring blocks is alike by construction,
    since a block only adds to it; blocks' outputs ("y") are not.

    All layers know which input a token is from, and that alone can bring the similarity near 1. Rotations and
    shuffles of tokens keep it, so the baseline shows it; ``within_inputs`` takes it away.

    Args:
        layers: name to states of the same tokens, (batch, tokens, channels); widths may differ.
        mask: True at real tokens, (batch, tokens); None where nothing is padded.
        within_inputs: whether to take the mean of each input's tokens away first.
        minibatch: most tokens in a minibatch, at least 4; all of them must fit into one to exchange "inputs".
        exchange: what chance exchanges, see :func:`draw_order`; "inputs" where there is one token an input.
        permutations: how many orders are drawn.
        seed: a number or a generator.

    Returns:
        The similarities with their baseline; only larger ones count as extreme.

    Raises:
        ValueError: there are fewer than two layers, shapes disagree, or a minibatch has fewer than four tokens.

    Example:
        >>> x = torch.randn(2, 10, 3)
        >>> found = cross_layer_cka({"1": x, "2": -x}, permutations=9)
        >>> bool(found.value[0, 1] > 0.999)
        True

    Source: Nguyen, Raghu & Kornblith (ICLR 2021), minibatch CKA.
    """
    parts = _rows("cross_layer_cka", layers, mask)
    if within_inputs:
        parts = {name: TokenRows(_without_means(part), part.sequence) for name, part in parts.items()}
    sequence = next(iter(parts.values())).sequence
    number = _minibatches(sequence, exchange, minibatch)
    place = number.argsort(stable=True)  # rows in the order of their minibatches
    sizes = torch.bincount(number).tolist()
    grams = [torch.stack([_gram(part.rows[own]) for part in parts.values()]) for own in place.split(sizes)]
    alone = torch.stack([_products(gram, gram).diagonal() for gram in grams]).sum(0)

    def statistic(order: Tensor) -> Tensor:
        total, start = torch.zeros(len(parts), len(parts), dtype=torch.float64), 0
        for gram, moved in zip(grams, order.split(sizes), strict=True):
            new = moved - start
            total += _products(gram, gram[:, new][:, :, new])
            start += len(new)
        return _mirror(normalise(total, alone[:, None], alone))

    # Rows move only inside their minibatch: exchanged are the inputs' pieces in it, or, for "rows", all of it.
    piece = number if exchange == "rows" else number * (int(sequence.max()) + 1) + sequence
    pieces = piece[place].unique_consecutive(return_inverse=True)[1]
    within: Exchange = "tokens" if exchange == "rows" else exchange
    baseline = _baseline(statistic, pieces, within, len(parts), "greater", permutations, seed)
    return LayerSimilarity("CKA", tuple(parts), baseline.observed, baseline)


def cross_layer_correlation(
    layers: Mapping[str, Tensor],
    *,
    mask: Tensor | None = None,
    method: Method = "pearson",
    exchange: Exchange = "rotation",
    permutations: int = 200,
    seed: int | Generator = 0,
) -> LayerSimilarity:
    r"""Correlate the same channel in each two layers over tokens, and average over channels::

        r_ab = mean over channels d of  corr over tokens t of (a_td, b_td)

    with the means of each input taken away. Only for states in which a channel means the same in all layers, as in
    the residual stream; elsewhere take :func:`cross_layer_cka`, or the largest correlations of
    :func:`token_correlation`. Channels that are constant in one of the two layers are left out of the mean.

    Args:
        layers: name to states of the same tokens, (batch, tokens, channels), all of one width.
        mask: True at real tokens, (batch, tokens); None where nothing is padded.
        method: "pearson" or "spearman".
        exchange: what chance exchanges, see :func:`draw_order`.
        permutations: how many orders are drawn.
        seed: a number or a generator.

    Returns:
        The correlations with their baseline, two-sided.

    Raises:
        ValueError: there are fewer than two layers, or shapes disagree.

    Example:
        >>> x = torch.randn(2, 10, 3)
        >>> found = cross_layer_correlation({"1": x, "2": -x}, permutations=9)
        >>> round(found.value[0, 1].item(), 6)
        -1.0
    """
    parts = _rows("cross_layer_correlation", layers, mask)
    widths = {name: part.rows.shape[1] for name, part in parts.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"cross_layer_correlation: layers must be of one width, got {widths}; take cross_layer_cka.")
    sequence = next(iter(parts.values())).sequence
    unit = torch.stack([standardise(part.rows, part.sequence, method) for part in parts.values()])
    alive = (~unit[:, 0].isnan()).double()  # (layers, channels)
    unit = unit.nan_to_num(0.0)
    shared = alive @ alive.T  # 0 / 0 is NaN where two layers share no channel that varies

    def statistic(order: Tensor) -> Tensor:
        return _mirror(unit.flatten(1) @ unit[:, order].flatten(1).T / shared)

    baseline = _baseline(statistic, sequence, exchange, len(parts), "two-sided", permutations, seed)
    return LayerSimilarity("correlation", tuple(parts), baseline.observed, baseline)


def _baseline(
    statistic, sequence: Tensor, exchange: Exchange, count: int, alternative: Alternative, permutations: int, seed
) -> Baseline:
    """Let the maximum run over pairs of different layers."""
    return permutation_baseline(
        statistic,
        sequence,
        exchange=exchange,
        permutations=permutations,
        seed=seed,
        alternative=alternative,
        family=torch.ones(count, count).triu(1).bool(),
    )


def _rows(where: str, layers: Mapping[str, Tensor], mask: Tensor | None) -> dict[str, TokenRows]:
    if len(layers) < 2:
        raise ValueError(f"{where}: needs at least two layers to compare, got {list(layers)}.")
    shapes = {name: tuple(state.shape[:2]) for name, state in layers.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{where}: layers must have the same batch and tokens, got {shapes}.")
    return {name: token_rows(state, mask) for name, state in layers.items()}


def _minibatches(sequence: Tensor, exchange: Exchange, most: int) -> Tensor:
    """Number the minibatch of each row: whole inputs are dealt out in turn where there are many, else their rows."""
    rows, inputs = len(sequence), int(sequence.max()) + 1
    if most < FEWEST:
        raise ValueError(f"cross_layer_cka: minibatch must be at least {FEWEST}, got {most}.")
    if exchange == "inputs":
        if rows > most:
            raise ValueError(
                f"cross_layer_cka: to exchange whole inputs, all {rows} tokens must be in one minibatch of {most}; "
                "average the tokens of each input first, or raise minibatch."
            )
        return torch.zeros_like(sequence)
    count = min(-(-rows // most), max(1, rows // FEWEST))
    return (sequence if inputs >= FEWEST * count else torch.arange(rows)) % count


def _mirror(pairs: Tensor) -> Tensor:
    """Take (b, a) from (a, b): exchanging one layer's tokens or the other's gives the same null."""
    return pairs.triu() + pairs.triu(1).T


def _without_means(part: TokenRows) -> Tensor:
    inputs = torch.bincount(part.sequence)
    sums = torch.zeros(len(inputs), part.rows.shape[1], dtype=part.rows.dtype)
    return part.rows - (sums.index_add_(0, part.sequence, part.rows) / inputs[:, None])[part.sequence]


def _gram(rows: Tensor) -> Tensor:
    constant = bool((rows == rows[:1]).all())
    return torch.zeros(len(rows), len(rows), dtype=torch.float64) if constant else centred_gram(rows)


def _products(one: Tensor, other: Tensor) -> Tensor:
    """Estimate HSIC_1 of each pair from centred matrices, both (layers, rows, rows). Returns (layers, layers)."""
    n = one.shape[-1]
    return one.flatten(1) @ other.flatten(1).T / (n * (n - 3))
