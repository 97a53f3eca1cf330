"""Whether different inputs show the same pattern, beside chance."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.result import Result
from mamba_mender.inspection.similarity.correlation import Method
from mamba_mender.inspection.similarity.exchange import Exchange
from mamba_mender.inspection.similarity.permutation_baseline import Baseline, permutation_baseline
from mamba_mender.inspection.similarity.ranks import ranks


@dataclass(frozen=True, eq=False)
class InputConsistency(Result):
    """How much the patterns of different inputs agree.

    pairs: correlation of each two inputs' patterns, 1 on the diagonal, (inputs, inputs).
    per_input: mean correlation of an input with all others, (inputs).
    baseline: of the mean over all pairs, (), with each input's features exchanged for itself.
    class_gap: mean correlation inside classes less that between them, (), with labels exchanged; None without labels.
    """

    pairs: Tensor
    per_input: Tensor
    baseline: Baseline
    class_gap: Baseline | None


def input_consistency(
    patterns: Tensor,
    *,
    labels: Tensor | None = None,
    method: Method = "spearman",
    exchange: Exchange = "tokens",
    permutations: int = 200,
    seed: int | Generator = 0,
) -> InputConsistency:
    """Correlate the patterns of each two inputs over their features.

    Args:
        patterns: one a input, (inputs, features), e.g. importance by channel, or relevance by image position.
        labels: class of each input, (inputs), at least two of them with more than one input; None for no classes.
        method: "spearman" or "pearson".
        exchange: "tokens" shuffles each input's features; "rotation" turns them round, for features whose neighbours
            are alike, as positions of an image are.
        permutations: how many orders are drawn.
        seed: a number or a generator.

    Returns:
        The consistency with its baseline; only larger values count as extreme.

    Raises:
        ValueError: there are fewer than two inputs, an input's pattern is constant, or labels leave no two classes.

    Example:
        >>> patterns = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 5.0, 6.0, 9.0]])
        >>> input_consistency(patterns, permutations=9).per_input.tolist()
        [1.0, 1.0]
    """
    check_axes("input_consistency", sizes := {}, patterns=(patterns, "inputs features"), labels=(labels, "inputs"))
    if sizes["inputs"] < 2:
        raise ValueError(f"input_consistency: needs at least two inputs to compare, got {sizes['inputs']}.")
    if exchange not in ("tokens", "rotation"):
        raise ValueError(f"input_consistency: exchange must be 'tokens' or 'rotation', got {exchange!r}.")
    generator = seed if isinstance(seed, Generator) else Generator().manual_seed(seed)
    unit = _unit(patterns, method)
    inputs, features = unit.shape

    def mean_pair(order: Tensor) -> Tensor:
        total = unit.flatten()[order].view(inputs, features).sum(0)
        return (total @ total - inputs) / (inputs * (inputs - 1))

    number = torch.arange(inputs).repeat_interleave(features)
    baseline = permutation_baseline(
        mean_pair, number, exchange=exchange, permutations=permutations, seed=generator, alternative="greater"
    )
    pairs = unit @ unit.T
    gap = None if labels is None else _class_gap(pairs, labels.cpu(), permutations, generator)
    return InputConsistency(pairs, (pairs.sum(1) - 1) / (inputs - 1), baseline, gap)


def cross_text_consistency(
    state: Tensor,
    *,
    mask: Tensor | None = None,
    labels: Tensor | None = None,
    method: Method = "spearman",
    permutations: int = 200,
    seed: int | Generator = 0,
) -> InputConsistency:
    """Compare texts by the mean size of each channel over their tokens, so that they may differ in length.

    Args:
        state: (batch, tokens, channels).
        mask: True at real tokens, (batch, tokens); None where nothing is padded.
        labels, method, permutations, seed: as in :func:`input_consistency`.

    Returns:
        The consistency over channels, with each text's channels shuffled as its baseline. Values well above it are
        usual: some channels are large in every text.

    Raises:
        ValueError: shapes disagree, or a text has no real token.

    Example:
        >>> state = torch.arange(12.0).view(1, 3, 4).expand(2, 3, 4)
        >>> cross_text_consistency(state, permutations=9).per_input.tolist()
        [1.0, 1.0]
    """
    check_axes("cross_text_consistency", {}, state=(state, "batch tokens channels"), mask=(mask, "batch tokens"))
    real = torch.ones(state.shape[:2], dtype=torch.bool) if mask is None else mask.cpu()
    if not real.any(1).all():
        empty = (~real.any(1)).nonzero()[:, 0].tolist()
        raise ValueError(f"cross_text_consistency: texts {empty} have no real token.")
    sizes = state.detach().cpu().double().abs().masked_fill(~real[..., None], 0.0)
    patterns = sizes.sum(1) / real.sum(1, keepdim=True)
    return input_consistency(patterns, labels=labels, method=method, permutations=permutations, seed=seed)


def cross_image_consistency(
    state: Tensor,
    *,
    labels: Tensor | None = None,
    method: Method = "spearman",
    permutations: int = 200,
    seed: int | Generator = 0,
) -> InputConsistency:
    """Compare images by the size of the state at each position: does it lie in the same places in every image?

    Args:
        state: in image order, as every recorded state is in both directions, (batch, tokens, channels), or a map,
            (batch, tokens). Leave a class token out.
        labels, method, permutations, seed: as in :func:`input_consistency`.

    Returns:
        The consistency over positions, with each image's map turned round (in rows, one after the other) as its
        baseline, since neighbouring positions are alike.

    Raises:
        ValueError: shapes disagree, or a map is constant.

    Example:
        >>> maps = torch.arange(12.0).view(1, 12).expand(3, 12)
        >>> cross_image_consistency(maps, permutations=9).per_input.tolist()
        [1.0, 1.0, 1.0]
    """
    maps = state[..., None] if state.dim() == 2 else state
    check_axes("cross_image_consistency", {}, state=(maps, "batch tokens channels"))
    patterns = maps[..., 0] if state.dim() == 2 else maps.detach().double().square().mean(-1).sqrt()
    return input_consistency(
        patterns, labels=labels, method=method, exchange="rotation", permutations=permutations, seed=seed
    )


def _unit(patterns: Tensor, method: Method) -> Tensor:
    """Centre each input's pattern and scale it to length 1, (inputs, features)."""
    if method not in ("pearson", "spearman"):
        raise ValueError(f"input_consistency: method must be 'pearson' or 'spearman', got {method!r}.")
    values = patterns.detach().cpu().double()
    values = ranks(values.T).T if method == "spearman" else values
    centred = values - values.mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    if constant := (length <= 1e-12 * values.norm(dim=1, keepdim=True))[:, 0].nonzero()[:, 0].tolist():
        raise ValueError(f"input_consistency: the patterns of inputs {constant} are constant and have no correlation.")
    return centred / length


def _class_gap(pairs: Tensor, labels: Tensor, permutations: int, generator: Generator) -> Baseline:
    """Compare pairs inside a class with pairs between classes, with labels exchanged as the null."""
    classes, counts = labels.unique(return_counts=True)
    if len(classes) < 2 or counts.max() < 2:
        raise ValueError(
            f"input_consistency: needs two classes, one of them with two inputs; got {counts.tolist()} inputs a class."
        )
    off = ~torch.eye(len(labels), dtype=torch.bool)

    def gap(order: Tensor) -> Tensor:
        own = labels[order]
        same = own[:, None] == own
        return pairs[same & off].mean() - pairs[~same].mean()

    return permutation_baseline(gap, len(labels), permutations=permutations, seed=generator, alternative="greater")
