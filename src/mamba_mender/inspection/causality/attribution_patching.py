"""Estimate every patch at once, to first order."""

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from mamba_mender.inspection.causality.metric import Metric
from mamba_mender.inspection.causality.observe import observe
from mamba_mender.inspection.causality.patching import Mode, Patching, by_block, change_sizes, choose


def attribution_patching(
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
) -> Patching:
    """Estimate every patch of a node to first order, by two runs and one backward pass.

    Computes ``m + (a_giver - a_taker) . d m / d a`` at the run that the patch is put into: of denoising, the corrupt
    one. It is a screen: compare it with :func:`activation_patching` by :func:`agreement`.

    Args, Returns and Raises are those of :func:`activation_patching`.

    Source: Nanda, "Attribution patching" (2023); Syed et al. (arXiv:2310.10348), equation 2.
    """
    places, wanted = choose(
        "attribution_patching", model, clean, corrupt, node, mode, blocks, positions, direction, mask
    )
    inputs = {"clean": clean, "corrupt": corrupt}
    giver, taker = ("clean", "corrupt") if mode == "denoising" else ("corrupt", "clean")
    taken = observe(model, inputs[taker], node, places, positions=wanted, metric=metric, mask=mask)
    given = observe(model, inputs[giver], node, places, positions=wanted, mask=mask)
    rows = sorted({place.block for place in places})
    first = by_block(node, rows, {p: (given.values[p] - taken.values[p]) * taken.gradients[p] for p in places})
    measured = {taker: metric(taken.logits), giver: metric(given.logits)}
    change = change_sizes(node, rows, given, taken)
    patched = measured[taker] + first
    return Patching(
        node, mode, "first order", direction, rows, wanted, measured["clean"], measured["corrupt"], patched, change
    )
