"""Attribution methods side by side, on the same inputs and beside the same random orders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from torch import Tensor, nn

from mamba_mender._check import nearest
from mamba_mender.inspection.attribution.attribute import METHODS, attribute
from mamba_mender.inspection.attribution.attribution import Attribution
from mamba_mender.inspection.attribution.conservation import ConservationError
from mamba_mender.inspection.attribution.faithfulness import Faithfulness, Measure, faithfulness
from mamba_mender.inspection.attribution.localisation import Localisation, localisation
from mamba_mender.inspection.attribution.replacement import Replacement
from mamba_mender.inspection.attribution.tokens import own_tokens
from mamba_mender.inspection.result import Result


@dataclass(frozen=True, eq=False)
class MethodComparison(Result):
    """What several methods say of the same inputs, and how true it is.

    attributions: method to its relevance.
    faithfulness: method to its deletion and insertion curves; all have the same random orders.
    localisation: method to its agreement with the masks; empty without masks.
    seconds: method to the time that its relevance took, on the clock.
    failed: method to why it gave nothing: its law does not hold on these inputs.
    """

    attributions: dict[str, Attribution]
    faithfulness: dict[str, Faithfulness]
    localisation: dict[str, Localisation]
    seconds: dict[str, float]
    failed: dict[str, str]


def compare_methods(
    model: nn.Module,
    inputs: Tensor,
    target: Tensor | None = None,
    *,
    methods: Sequence[str] = tuple(METHODS),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    mask: Tensor | None = None,
    masks: Tensor | None = None,
    least: float = 0.5,
    replacement: Replacement | None = None,
    measure: Measure = "probability",
    steps: int = 20,
    draws: int = 10,
    seed: int = 0,
    batch_size: int = 64,
) -> MethodComparison:
    """Explain the same inputs by several methods, and judge each by removal and by masks.

    Args:
        model: any model that :func:`mamba_mender.taps.record` takes, in eval mode.
        inputs: images, (batch, channels, height, width), or token numbers, (batch, length).
        target: class numbers, (batch); None explains the largest logits.
        methods: names from METHODS, see :func:`attribute`.
        settings: method to its settings.
        mask: True at real tokens, (batch, length).
        masks: share of each token where the evidence lies, (batch, tokens); see :func:`masks_on_tokens`. None leaves
            localisation out.
        least: how much of a token must lie in the mask.
        replacement, measure, steps, draws, seed, batch_size: as in :func:`faithfulness`.

    Returns:
        Relevance, curves and agreement of each method; a method whose law does not hold is listed as failed.

    Raises:
        ValueError: a method is unknown, or an argument does not fit.

    Example:
        >>> import torch
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=2, img_size=8).eval()
        >>> found = compare_methods(model, torch.rand(2, 3, 8, 8), methods=["mamba_lrp", "attention"], draws=2)
        >>> list(found.faithfulness)
        ['mamba_lrp', 'attention']
    """
    for name in (*methods, *(settings or {})):
        if name not in METHODS:
            raise ValueError(f"compare_methods: no method {name!r}; {nearest(name, METHODS)}.")
    found, seconds, failed = {}, {}, {}
    for name in methods:
        begin = perf_counter()
        try:
            found[name] = attribute(model, inputs, target, method=name, mask=mask, **(settings or {}).get(name, {}))
        except ConservationError as error:
            failed[name] = str(error)
        seconds[name] = perf_counter() - begin
    curves, places = {}, {}
    random = None
    for name, one in found.items():
        curves[name] = faithfulness(
            model, inputs, one.relevance, one.target, mask=mask, replacement=replacement, measure=measure,
            steps=steps, draws=draws, seed=seed, batch_size=batch_size, random_deletion=random,
        )  # fmt: skip
        random = curves[name].random_deletion
        if masks is not None:
            allowed = own_tokens(model, one.relevance, mask)
            places[name] = localisation(one.relevance, masks, allowed=allowed, least=least, seed=seed)
    return MethodComparison(found, curves, places, seconds, failed)
