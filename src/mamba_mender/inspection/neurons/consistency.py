"""Whether the same neurons matter in every input, beside chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import hypergeom
from torch import Generator, Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.neurons.neuron_scores import NeuronScores
from mamba_mender.inspection.result import Result
from mamba_mender.inspection.similarity import Baseline, InputConsistency, input_consistency, permutation_baseline

TOPS = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True, eq=False)
class NeuronConsistency(Result):
    """How much inputs agree on which neurons matter.

    ranks: rank correlation of importance between inputs, with each input's channels shuffled as its baseline.
    tops: sizes k of the set of the most important neurons.
    overlap: share of the top k that two inputs have in common, mean over pairs of inputs, 0 to 1, (tops).
    chance: its mean for random sets, k / channels, (tops).
    chance_deviation: its standard deviation for random sets, (tops).
    overlap_baseline: of the overlap with each input's channels shuffled, (tops); only larger ones count.
    pair_p: probability that two random sets of k have at least as many in common as two inputs have, hypergeometric,
        (tops, inputs, inputs).
    """

    ranks: InputConsistency
    tops: tuple[int, ...]
    overlap: Tensor
    chance: Tensor
    chance_deviation: Tensor
    overlap_baseline: Baseline
    pair_p: Tensor


def neuron_consistency(
    scores: NeuronScores | Tensor,
    *,
    tops: Sequence[int] | None = None,
    labels: Tensor | None = None,
    permutations: int = 200,
    seed: int | Generator = 0,
) -> NeuronConsistency:
    r"""Compare which neurons matter in each two of n inputs.

    With T_a the k most important of N neurons of input a, by absolute score::

        overlap_k = mean over pairs of |T_a & T_b| / k
        by chance: mean k / N, variance (N - k)^2 / (N^2 (N - 1)) / (pairs of inputs)

    The number that two random sets have in common is hypergeometric; numbers of different pairs are uncorrelated.

    Args:
        scores: of a function of this package, or (batch, channels).
        tops: sizes k, each at least 1 and below the number of channels; None takes 1, 2, 5, 10, 20, 50, 100
            where there are more channels.
        labels: class of each input, (batch), to compare inside and between classes; None for none.
        permutations: how many orders are drawn.
        seed: a number or a generator.

    Returns:
        The consistency.

    Raises:
        ValueError: there are fewer than two inputs, an input's scores are all equal, or a size is out of range.

    Example:
        >>> scores = torch.tensor([[5.0, 1.0, 2.0, 0.0], [6.0, 0.0, 1.0, 2.0]])
        >>> found = neuron_consistency(scores, tops=[1, 2], permutations=9)
        >>> found.overlap.tolist(), found.chance.tolist()
        ([1.0, 0.5], [0.25, 0.5])

    Source: Fury et al. (2006), overlap of ranked lists by the hypergeometric distribution.
    """
    values = scores.score if isinstance(scores, NeuronScores) else scores
    check_axes("neuron_consistency", sizes := {}, scores=(values, "batch channels"))
    inputs, channels = sizes["batch"], sizes["channels"]
    chosen = tuple(k for k in TOPS if k < channels) if tops is None else tuple(tops)
    if not chosen or not all(1 <= k < channels for k in chosen):
        raise ValueError(f"neuron_consistency: tops must be numbers from 1 to {channels - 1}, got {list(chosen)}.")
    generator = seed if isinstance(seed, Generator) else Generator().manual_seed(seed)
    importance = values.detach().cpu().abs()
    by_rank = input_consistency(importance, labels=labels, permutations=permutations, seed=generator)
    place = importance.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    k = torch.tensor(chosen, dtype=torch.float64)
    member = (place < k[:, None, None]).double()  # (tops, inputs, channels)

    def overlap(order: Tensor) -> Tensor:
        counts = member.flatten(1)[:, order].view(len(chosen), inputs, channels).sum(1)
        return (counts.square().sum(1) - inputs * k) / (inputs * (inputs - 1) * k)

    number = torch.arange(inputs).repeat_interleave(channels)
    baseline = permutation_baseline(
        overlap, number, exchange="tokens", permutations=permutations, seed=generator, alternative="greater"
    )
    shared = (member @ member.mT).numpy()
    tail = [hypergeom.sf(own - 1, channels, size, size) for own, size in zip(shared, chosen, strict=True)]
    pairs = inputs * (inputs - 1) / 2
    return NeuronConsistency(
        ranks=by_rank,
        tops=chosen,
        overlap=baseline.observed,
        chance=k / channels,
        chance_deviation=(channels - k) / channels / ((channels - 1) * pairs) ** 0.5,
        overlap_baseline=baseline,
        pair_p=torch.stack([torch.from_numpy(own) for own in tail]),
    )
