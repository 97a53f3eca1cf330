"""What a block does to the prediction by itself, and through the blocks after it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mamba_mender.inspection.causality.bootstrap import Interval, bootstrap
from mamba_mender.inspection.causality.metric import Metric
from mamba_mender.inspection.causality.observe import observe, places_of
from mamba_mender.inspection.predict import predict
from mamba_mender.inspection.result import Result
from mamba_mender.taps import Edit, StateKey, edit


@dataclass(frozen=True)
class PathEffects(Result):
    """Total, direct and indirect effect of each block on a metric; total = direct + indirect, by definition.

    blocks: rows. total, direct, indirect: change of the metric, (blocks, inputs).
    mediated: the indirect effect measured on its own: only the later blocks say what they would say, the block
    itself says what it said, (blocks, inputs). It differs from indirect by how much the two paths interact.
    """

    blocks: list[int]
    total: Tensor
    direct: Tensor
    indirect: Tensor
    mediated: Tensor

    def interval(self, effect: Literal["total", "direct", "indirect", "mediated"], *, level: float = 0.95,
                 draws: int = 1000, seed: int = 0) -> Interval:  # fmt: skip
        """Bound a mean effect by drawing inputs again; mean, low and high are (blocks)."""
        return bootstrap(getattr(self, effect).T, level=level, draws=draws, seed=seed)


def path_effects(
    model: nn.Module,
    inputs: Tensor,
    metric: Metric,
    *,
    donor: Tensor | None = None,
    blocks: Collection[int] | None = None,
    positions: Sequence[int] | None = None,
    mask: Tensor | None = None,
) -> PathEffects:
    """Split the effect of a block's output y into what goes straight to the prediction and what goes through others.

    With m the metric, y_a the output of block a, y'_a what replaces it, and y_b those of all later blocks::

        total    = m(do(y_a := y'_a)) - m
        direct   = m(do(y_a := y'_a, y_b := y_b)) - m        (all other mixers frozen)
        indirect = total - direct
        mediated = m(do(y_b := y_b under do(y_a := y'_a))) - m

    Args:
        model: any model that :func:`mamba_mender.taps.edit` takes.
        inputs: images or token numbers.
        metric: of logits.
        donor: inputs of the same shape, whose y replaces a block's; None replaces it by zeros (ablation).
        blocks: None means all.
        positions: where y is replaced; None means everywhere. Later blocks are frozen everywhere.
        mask: True at real tokens, (batch, length).

    Returns:
        The effects, (blocks, inputs).

    Source: Pearl, "Direct and indirect effects" (2001), the controlled split by path freezing; Goldowsky-Dill et al.,
    "Localizing model behavior with path patching" (arXiv:2304.05969).
    """
    every = places_of(model, "y")
    chosen = places_of(model, "y", blocks=blocks)
    plain = observe(model, inputs, "y", every, mask=mask)
    given = None if donor is None else observe(model, donor, "y", chosen, mask=mask).values
    base = metric(plain.logits)
    total, direct, mediated = (base.new_zeros(len(chosen), len(base)) for _ in range(3))

    def measure(*edits: Edit) -> Tensor:
        with torch.no_grad(), edit(model, *edits):
            return metric(predict(model, inputs, mask=mask)) - base

    for row, place in enumerate(chosen):
        value = 0.0 if given is None else given[place] if positions is None else given[place][:, list(positions)]
        change = Edit("y", value, blocks=[place.block], positions=positions)
        later = [key for key in every if key.block > place.block]
        direct[row] = measure(change, *_freeze(plain.values, later))
        if later:
            changed = observe(model, inputs, "y", later, mask=mask, under=[change])
            total[row] = metric(changed.logits) - base
            mediated[row] = measure(*_freeze(changed.values, later))
        else:
            total[row] = direct[row]
    return PathEffects([place.block for place in chosen], total, direct, total - direct, mediated)


def _freeze(values: dict[StateKey, Tensor], places: list[StateKey]) -> list[Edit]:
    return [Edit("y", values[place], blocks=[place.block]) for place in places]
