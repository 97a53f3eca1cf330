"""The page's section on what changes when one intervenes."""

from collections.abc import Callable
from typing import Any

from mamba_mender.inspection.study import Inspection
from mamba_mender.inspection.study.parts import NotMeasured
from mamba_mender.report.chapters.exhibit import ACROSS, Chapter, Exhibit, one, results_of

TOO_NARROW = 0.15  # by how much intervals may cover less than they state


def _result(found: Inspection, name: str) -> Any:
    result = results_of(found, "causality", None).get(name)
    return None if isinstance(result, NotMeasured) else result


def _say(name: str, words: Callable[[Any], str]) -> Callable[[Inspection, int | None], list[str]]:
    def say(found: Inspection, _which: int | None) -> list[str]:
        result = _result(found, name)
        return [] if result is None else [words(result)]

    return say


def _discovered(result: Any) -> str:
    edge = "An edge by intervention is a direct effect of at least half the median one."
    if result.complete:
        return (
            f"{edge} Every layer has one on every later layer here, so that any graph is right, also one drawn at "
            "random: the grade of the discovery says nothing."
        )
    told = [
        f"{name}: precision {grade.precision:.2f}, recall {grade.recall:.2f}, {grade.distance} edges wrong"
        for name, grade in result.grades.items()
    ]
    found, random = result.grades["discovery"].distance, result.grades["random"].distance
    verdict = "" if found < random else " It is no better than drawing edges at random."
    return f"{edge} {'; '.join(told)}.{verdict}"


def _agreement(result: Any) -> str:
    at = "beyond" if result.rank_correlation > result.chance else "not beyond"
    return (
        f"The first-order estimate ranks the patches with a correlation of {result.rank_correlation:.2f} to the truth, "
        f"{at} the {result.chance:.2f} of chance."
    )


def _consistent(result: Any) -> str:
    at = "beyond" if result.correlation > result.chance else "not beyond"
    return (
        f"Two inputs' effects correlate with {result.correlation:.2f}, {at} the {result.chance:.2f} of chance."
        if result.correlation == result.correlation
        else "With one input nothing can be said of others."
    )


def _counterfactual(result: Any) -> str:
    return (
        "Putting in the other input's state of the middle layer, just before the token that is read, changes the "
        f"answer of {100 * float(result.flips.double().mean()):.0f} % of the inputs."
    )


def _predictor(found: Inspection, _which: int | None) -> list[str]:
    told = _result(found, "predictor")
    if told is None:
        return []
    r2 = float(told["r2"])
    if r2 <= 0:
        return [
            f"A predictor of effects loses to the mean on interventions it has not seen (R2 = {r2:.2f}): not shown."
        ]
    coverage, level = float(told["coverage"]), float(told["level"])
    warning = " Its intervals are too narrow here and must not be used." if level - coverage > TOO_NARROW else ""
    return [
        f"A predictor of effects reaches R2 = {r2:.2f} on interventions it has not seen (first order alone "
        f"{float(told['r2_first_order']):.2f}); {100 * coverage:.0f} % of them lie in its {100 * level:.0f} % "
        f"intervals.{warning}"
    ]


def _several(*sayings: Callable[[Inspection, int | None], list[str]]) -> Callable[[Inspection, int | None], list[str]]:
    return lambda found, which: [sentence for say in sayings for sentence in say(found, which)]


CAUSALITY = Chapter(
    "causality",
    "Causes",
    "What changes when one intervenes",
    "So far everything was read off. Here states are changed and the model is run again; what replaces an input's "
    "state is that of an input with another answer (zeros where there is no other).",
    (
        Exhibit(
            "effects",
            "Effects of each layer on the later ones",
            "On and below the diagonal there can be none. A bright cell right beside it is no surprise; one far "
            "from it is a layer that another reads directly.",
            "causality",
            one("causality", "graph"),
            inputs=ACROSS,
        ),
        Exhibit(
            "discovered",
            "The graph that correlations alone suggest",
            "What a discovery method finds without intervening, graded by the effects above; it is there to show how "
            "far to trust it.",
            "causality",
            one("causality", "discovered"),
            inputs=ACROSS,
            say=_say("discovered", _discovered),
        ),
        Exhibit(
            "paths",
            "Total, direct and indirect effect on the prediction",
            "Bars that do not touch 0: layers that the prediction needs. Direct: past all later layers; indirect: "
            "through them.",
            "causality",
            one("causality", "paths"),
            inputs=ACROSS,
        ),
        Exhibit(
            "patching",
            "Patching: where the answer can be brought back",
            "Bright cells: putting the clean state in at this layer and token restores the answer; the bright path "
            "shows by which tokens the decisive content travels.",
            "causality",
            one("causality", "denoising"),
            inputs=ACROSS,
            say=_several(_say("screen/agreement", _agreement), _say("consistency", _consistent), _predictor),
        ),
        Exhibit(
            "noising",
            "Patching the other way: where the answer can be spoilt",
            "Bright cells here and pale ones above: content that is needed but not enough.",
            "causality",
            one("causality", "noising"),
            inputs=ACROSS,
        ),
        Exhibit(
            "neuron",
            "One neuron taken out: memory and prediction",
            "How half-life and horizon of the later scans change when the largest channel of the middle layer is 0.",
            "causality",
            one("causality", "neuron"),
            inputs=ACROSS,
        ),
        Exhibit(
            "counterfactual",
            "The state that another input would have left",
            "How far the answer goes towards that of the other input when only this state is exchanged.",
            "causality",
            one("causality", "counterfactual"),
            inputs=ACROSS,
            say=_say("counterfactual", _counterfactual),
        ),
    ),
)
