"""Put what one run computed into another, block by block and token by token, and see what it does."""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from mamba_mender.inspection.causality.metric import Metric
from mamba_mender.inspection.causality.observe import observe
from mamba_mender.inspection.causality.patching import POSITIONS_LAST, Mode, Patching, change_sizes, choose
from mamba_mender.inspection.predict import predict
from mamba_mender.taps import Edit, edit


def activation_patching(
    model: nn.Module,
    clean: Tensor,
    corrupt: Tensor,
    metric: Metric,
    *,
    node: str = "h",
    mode: Mode = "denoising",
    blocks: Collection[int] | None = None,
    positions: Sequence[int] | None = None,
    direction: str = "",
    mask: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Patching:
    """Patch a node from one run into another, at each block and position, by running the model again.

    Args:
        model: any model that :func:`mamba_mender.taps.edit` takes.
        clean, corrupt: inputs of one shape, sample for sample.
        metric: of logits, e.g. :func:`logit_difference`.
        node: one of :data:`mamba_mender.taps.NODES`.
        mode: "denoising" runs corrupt inputs with a clean value, "noising" clean inputs with a corrupt one.
        blocks: None means all that have the node; -1, the embedding, has to be named.
        positions: None means all.
        direction: "forward" or "backward"; "" patches both at once.
        mask: True at real tokens, (batch, length), the same for both.
        progress: called with the number of patches done and of all.

    Returns:
        The metric under each patch, (blocks, positions, inputs).

    Raises:
        ValueError: the inputs differ in shape, or the model has no such node.

    Source: Meng et al., "Locating and editing factual associations in GPT" (arXiv:2202.05262), section 2;
    Heimersheim & Nanda, "How to use and interpret activation patching" (arXiv:2404.15255) for the two modes.
    """
    places, wanted = choose(
        "activation_patching", model, clean, corrupt, node, mode, blocks, positions, direction, mask
    )
    runs = {name: observe(model, x, node, places, positions=wanted, mask=mask)
            for name, x in (("clean", clean), ("corrupt", corrupt))}  # fmt: skip
    giver, taker = ("clean", "corrupt") if mode == "denoising" else ("corrupt", "clean")
    rows = sorted({place.block for place in places})
    measured = {name: metric(run.logits) for name, run in runs.items()}
    patched = measured["clean"].new_zeros(len(rows), len(wanted), len(clean))
    inputs = corrupt if mode == "denoising" else clean
    for i, block in enumerate(rows):
        for j, position in enumerate(wanted):
            edits = [
                Edit(node, _at(runs[giver].values[place], node, j), blocks=[block], direction=place.direction,
                     positions=[position])
                for place in places if place.block == block
            ]  # fmt: skip
            with torch.no_grad(), edit(model, *edits):
                patched[i, j] = metric(predict(model, inputs, mask=mask))
            if progress is not None:
                progress(i * len(wanted) + j + 1, len(rows) * len(wanted))
    change = change_sizes(node, rows, runs[giver], runs[taker])
    return Patching(
        node, mode, "exact", direction, rows, wanted, measured["clean"], measured["corrupt"], patched, change
    )


def _at(values: Tensor, node: str, j: int) -> Tensor:
    """Take one position of a node's values, its axis kept."""
    if node in POSITIONS_LAST:
        return values[..., j : j + 1]
    return values[:, j : j + 1]
