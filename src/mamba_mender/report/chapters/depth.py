"""The page's section on what changes from layer to layer."""

from typing import Any

from mamba_mender.inspection.study import Inspection
from mamba_mender.inspection.study.parts import NotMeasured
from mamba_mender.report.chapters.exhibit import Chapter, Exhibit, ending, one, results_of


def _changes(found: Inspection, which: int | None) -> dict[str, Any]:
    results = results_of(found, "evolution", which)
    own = {name.removeprefix("change/"): result for name, result in results.items() if name.startswith("change/")}
    return own if len(own) > 1 else dict(zip([""], own.values(), strict=False))


def _say_depth(found: Inspection, which: int | None) -> list[str]:
    depth = results_of(found, "evolution", which)["depth"]
    if isinstance(depth, NotMeasured):
        return []
    if not len(depth.points):
        return [f"No change point over the layers is beyond chance (p = {depth.p_value:.2f})."]
    return [f"Change points over the layers are beyond chance (p = {depth.p_value:.2f})."]


def _say_push(found: Inspection, which: int | None) -> list[str]:
    push = results_of(found, "evolution", which)["push"]
    if isinstance(push, NotMeasured):
        return []
    exponent = float(push.exponent.mean())
    how = "die out" if exponent < 0 else "grow"
    return [f"Small pushes of the embedding {how}: exponent {exponent:+.3f} per layer."]


def _importance(found: Inspection, which: int | None) -> dict[str, Any]:
    own = ending(results_of(found, "neurons", which), "importance")
    kinds = {kind: [name for name in own if name.endswith(f"/{kind}")] for kind in ("gradient", "rollout", "attention")}
    return {
        f"{names[-1].removesuffix(f'/{kind}')}, by {kind}": own[names[-1]] for kind, names in kinds.items() if names
    }


DEPTH = Chapter(
    "depth",
    "Depth",
    "Over the depth of the model",
    "How what a token carries changes from layer to layer.",
    (
        Exhibit(
            "stream",
            "The residual stream",
            "A jump says that a layer rewrites what the tokens carry; a flat line that it adds little.",
            "activations",
            one("activations", "stream"),
        ),
        Exhibit(
            "neurons",
            "Evolution of the neurons",
            "A cosine near 1 means that the same neurons stay active; where it drops, the layer turns to others. "
            "Compare with the dashed line, the neurons in random order.",
            "evolution",
            one("evolution", "neurons"),
        ),
        Exhibit(
            "importance",
            "The neurons that matter",
            "The steeper the curve, the fewer neurons carry the prediction: by gradient at the last layer whose tokens "
            "it reaches, and by the attention of the token that is read at the last scan.",
            "neurons",
            _importance,
        ),
        Exhibit(
            "changes",
            "Change of the step against change of the activation",
            "Where the step changes more than the activation, the layer chooses by its step when to write and when to "
            "forget; where it hardly changes, the scan works like a fixed filter.",
            "evolution",
            _changes,
        ),
        Exhibit(
            "depth-changes",
            "Change points over the layers",
            "A mark says that from this layer on the stream grows or turns at another rate.",
            "evolution",
            one("evolution", "depth"),
            say=_say_depth,
        ),
        Exhibit(
            "push",
            "What becomes of a small push",
            "Rising: layers amplify small differences of the input; falling: they smooth them out.",
            "evolution",
            one("evolution", "push"),
            say=_say_push,
        ),
    ),
)
