"""How a vector of neurons changes from layer to layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Generator, Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.result import Result
from mamba_mender.inspection.similarity import Baseline, permutation_baseline


@dataclass(frozen=True, eq=False)
class NeuronEvolution(Result):
    """How the neurons' vector goes from layer to layer.

    layers: their names, first to last.
    magnitude: root mean square over channels, mean over inputs, (layers).
    cosine: between each layer and the next, mean over inputs; NaN where widths differ or a vector is 0, (layers - 1).
    relative_change: length of the difference over the length of the earlier vector, mean over inputs, NaN as above,
        (layers - 1).
    baseline: of the cosine with the channels of the later vector exchanged, (layers - 1), two-sided; None where no two
        neighbours have one width.
    """

    layers: tuple[str, ...]
    magnitude: Tensor
    cosine: Tensor
    relative_change: Tensor
    baseline: Baseline | None


def neuron_evolution(
    layers: Mapping[str, Tensor], *, permutations: int = 200, seed: int | Generator = 0
) -> NeuronEvolution:
    r"""Follow a vector of neurons through the layers.

    With v_l the vector of layer l::

        magnitude_l = rms(v_l)      cosine_l = <v_l, v_l+1> / (|v_l| |v_l+1|)      change_l = |v_l+1 - v_l| / |v_l|

    Args:
        layers: name to vectors of the same inputs, first layer first: scores, or mean activations,
            (batch, channels); widths may differ.
        permutations: how many orders of channels are drawn.
        seed: a number or a generator.

    Returns:
        The evolution, in float64.

    Raises:
        ValueError: there are fewer than two layers, or batches disagree.

    Example:
        >>> found = neuron_evolution({"0": torch.tensor([[3.0, 4.0]]), "1": torch.tensor([[6.0, 8.0]])}, permutations=9)
        >>> found.cosine.tolist(), found.relative_change.tolist()
        ([1.0], [1.0])
    """
    if len(layers) < 2:
        raise ValueError(f"neuron_evolution: needs at least two layers, got {list(layers)}.")
    sizes: dict[str, int] = {}
    for vectors in layers.values():
        sizes.pop("channels", None)
        check_axes("neuron_evolution", sizes, layers=(vectors, "batch channels"))
    values = [vectors.detach().cpu().double() for vectors in layers.values()]
    same = [one.shape == other.shape for one, other in pairwise(values)]
    generator = seed if isinstance(seed, Generator) else Generator().manual_seed(seed)

    def cosines(order: Tensor | None) -> Tensor:
        """Give the cosine of each two neighbours; order: of the widest layer's channels."""
        found = []
        for agree, one, other in zip(same, values, values[1:], strict=False):
            new = slice(None) if order is None else order[order < other.shape[1]]
            found.append(_cosine(one, other[:, new]) if agree else torch.tensor(torch.nan, dtype=one.dtype))
        return torch.stack(found)

    widest = max((value.shape[1] for value, agree in zip(values, same, strict=False) if agree), default=0)
    baseline = permutation_baseline(cosines, widest, permutations=permutations, seed=generator) if any(same) else None
    change = [
        ((other - one).norm(dim=1) / one.norm(dim=1)).mean() if agree else torch.tensor(torch.nan).double()
        for agree, one, other in zip(same, values, values[1:], strict=False)
    ]
    return NeuronEvolution(
        layers=tuple(layers),
        magnitude=torch.stack([value.square().mean(1).sqrt().mean() for value in values]),
        cosine=cosines(None),
        relative_change=torch.stack(change),
        baseline=baseline,
    )


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    """Give the mean cosine over inputs; NaN where a vector is 0."""
    return ((one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))).mean()
