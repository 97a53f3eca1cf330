"""Which block's output changes which other block's output, by intervention."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mamba_mender.inspection.causality.observe import Observed, observe, places_of
from mamba_mender.inspection.causality.refuse_bypass import refuse_bypass
from mamba_mender.inspection.result import Result
from mamba_mender.taps import Edit


@dataclass(frozen=True)
class EffectGraph(Result):
    """Effects between blocks: of replacing the output y of one on the output y of another.

    blocks: rows (cause) and columns (effect).
    total: relative change of the effect's y, ``|y_b' - y_b| / |y_b|``, mean over inputs, (causes, effects); 0 on and
    below the diagonal, where no effect can be.
    direct: the same with what all blocks between them add to the residual stream held as it was, whether they are
    among ``blocks`` or not, and attention and MLPs too where a model has them.
    """

    blocks: list[int]
    total: Tensor
    direct: Tensor

    def edges(self, threshold: float) -> Tensor:
        """Say which direct effects exceed a relative change, (causes, effects), bool."""
        return self.direct > threshold


def effect_graph(
    model: nn.Module,
    inputs: Tensor,
    *,
    donor: Tensor | None = None,
    blocks: Collection[int] | None = None,
    mask: Tensor | None = None,
) -> EffectGraph:
    """Measure what every block's output does to every later block's, by replacing it and running the model again.

    With h_b the residual stream after block b, and h'_b the same under do(y_a := y'_a)::

        total[a, b]  = |y_b' - y_b| / |y_b|    under do(y_a := y'_a)
        direct[a, b] = the same                under do(h_{b-1} := h_{b-1} + h'_a - h_a)

    Args:
        model: any model that :func:`mamba_mender.taps.edit` takes.
        inputs: images or token numbers.
        donor: inputs of the same shape whose y replaces a block's; None replaces it by zeros (ablation).
        blocks: causes and effects; None means all.
        mask: True at real tokens, (batch, length).

    Returns:
        Total and direct effects.

    Raises:
        ValueError: the blocks' outputs are not the model's residual stream, or are nowhere.

    Source: interventional effects as in Pearl, "Causality" (2009), section 3.2; a model is a known deterministic
    graph, so do() is exact by running it again.
    """
    every = places_of(model, "y", blocks=blocks)
    plain = observe(model, inputs, "y", every, mask=mask)
    given = None if donor is None else observe(model, donor, "y", every, mask=mask).values
    total = torch.zeros(len(every), len(every), dtype=torch.float64)
    direct = torch.zeros_like(total)
    if len(every) > 1:
        streams = places_of(model, "h")
        stream = observe(model, inputs, "h", streams, mask=mask)
        refuse_bypass("effect_graph", model, inputs, stream, mask=mask)
        after = {key.block: value for key, value in stream.values.items()}
    for i, cause in enumerate(every[:-1]):
        change = Edit("y", 0.0 if given is None else given[cause], blocks=[cause.block])
        later = every[i + 1 :]
        changed = observe(model, inputs, "y", later, mask=mask, under=[change])
        total[i, i + 1 :] = _changes(plain, changed, later, mask)
        (own,) = places_of(model, "h", blocks=[cause.block])
        shift = observe(model, inputs, "h", [own], mask=mask, under=[change]).values[own] - after[cause.block]
        between = [block for block in after if cause.block <= block < later[-1].block]
        held = [Edit("h", after[block] + shift, blocks=[block]) for block in between]
        alone = observe(model, inputs, "y", later, mask=mask, under=held)  # each reads the plain stream and the shift
        direct[i, i + 1 :] = _changes(plain, alone, later, mask)
    return EffectGraph([key.block for key in every], total, direct)


def _changes(plain: Observed, changed: Observed, places: list, mask: Tensor | None) -> Tensor:
    """Measure the relative change of each place's value, mean over inputs; padding does not count."""
    found = []
    for place in places:
        before, after = plain.values[place].double(), changed.values[place].double()
        if mask is not None:
            before, after = before * mask[..., None], after * mask[..., None]
        size = before.flatten(1).norm(dim=1)
        moved = (after - before).flatten(1).norm(dim=1)
        found.append(torch.where(size > 0, moved / size, moved).mean())
    return torch.stack(found).cpu()
