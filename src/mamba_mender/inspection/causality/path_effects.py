"""What a block does to the prediction by itself, and through the blocks after it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mamba_mender.inspection.causality.bootstrap import Interval, bootstrap
from mamba_mender.inspection.causality.metric import Metric
from mamba_mender.inspection.causality.observe import observe, places_of
from mamba_mender.inspection.causality.refuse_bypass import refuse_bypass
from mamba_mender.inspection.predict import predict
from mamba_mender.inspection.result import Result
from mamba_mender.taps import Edit, StateKey, edit


@dataclass(frozen=True)
class PathEffects(Result):
    """Total, direct and indirect effect of each block on a metric; total = direct + indirect, by definition.

    blocks: rows. total, direct, indirect: change of the metric, (blocks, inputs).
    mediated: the indirect effect measured on its own: only the later blocks say what they would say, the block
    itself says what it said, (blocks, inputs). It differs from indirect by how much the two paths interact.

    A block is all that a layer of the model adds to the residual stream. Where that is more than a Mamba mixer
    (attention, MLP, experts), the block's own other parts answer to its y, and those of later blocks are held too.
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

    With m the metric, y_a the output of block a, y'_a what replaces it, h_b the residual stream after block b, h'_b
    the same under do(y_a := y'_a), and B the last block::

        total    = m(do(y_a := y'_a)) - m
        direct   = m(do(h_B := h_B + (h'_a - h_a))) - m
        indirect = total - direct
        mediated = m(do(h_B := h'_B - (h'_a - h_a))) - m

    Each block adds h_b - h_{b-1} to the stream. In direct, all later blocks add what they add in the plain run, and
    in mediated what they add under do(y_a := y'_a), while block a adds what it adds in the plain run. In a model of
    Mamba mixers alone, direct is the same as freezing every later y.

    Args:
        model: any model that :func:`mamba_mender.taps.edit` takes.
        inputs: images or token numbers.
        metric: of logits.
        donor: inputs of the same shape, whose y replaces a block's; None replaces it by zeros (ablation).
        blocks: None means all.
        positions: where y is replaced; None means everywhere. Later blocks are held everywhere.
        mask: True at real tokens, (batch, length).

    Returns:
        The effects, (blocks, inputs).

    Raises:
        ValueError: the last block's output is not all that the prediction reads, or is nowhere.

    Source: Pearl, "Direct and indirect effects" (2001), the controlled split by path freezing; Goldowsky-Dill et al.,
    "Localizing model behavior with path patching" (arXiv:2304.05969).
    """
    chosen = places_of(model, "y", blocks=blocks)
    streams = places_of(model, "h")
    last = streams[-1]
    kept = [key for key in streams if key.block in {place.block for place in chosen} | {last.block}]
    plain = observe(model, inputs, "h", kept, mask=mask)
    refuse_bypass("path_effects", model, inputs, plain, mask=mask)
    given = None if donor is None else observe(model, donor, "y", chosen, mask=mask).values
    base = metric(plain.logits)
    total, direct, mediated = (base.new_zeros(len(chosen), len(base)) for _ in range(3))

    def with_stream(h: Tensor) -> Tensor:
        with torch.no_grad(), edit(model, Edit("h", h, blocks=[last.block])):
            return metric(predict(model, inputs, mask=mask)) - base

    for row, place in enumerate(chosen):
        value = 0.0 if given is None else given[place] if positions is None else given[place][:, list(positions)]
        change = Edit("y", value, blocks=[place.block], positions=positions)
        own = StateKey(place.block, "h")
        changed = observe(model, inputs, "h", sorted({own, last}), mask=mask, under=[change])
        total[row] = metric(changed.logits) - base
        if own == last:
            direct[row] = total[row]
            continue
        shift = changed.values[own] - plain.values[own]
        direct[row] = with_stream(plain.values[last] + shift)
        mediated[row] = with_stream(changed.values[last] - shift)
    return PathEffects([place.block for place in chosen], total, direct, total - direct, mediated)
