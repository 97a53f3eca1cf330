"""The page's sections on what goes together, inside an input and across inputs."""

from collections.abc import Callable
from typing import Any

import torch

from mamba_mender.inspection.study import Inspection
from mamba_mender.inspection.study.parts import NotMeasured
from mamba_mender.report.chapters.exhibit import (
    ACROSS,
    Chapter,
    Exhibit,
    ending,
    one,
    place_name,
    results_of,
    tell_baseline,
)
from mamba_mender.report.inspect_depth import lines_by_layer, spread_by_layer


def _last(analysis: str, kind: str) -> Callable[[Inspection, int | None], dict[str, Any]]:
    """Draw a result of the last scan."""

    def draw(found: Inspection, which: int | None) -> dict[str, Any]:
        own = ending(results_of(found, analysis, which), kind)
        return {list(own)[-1]: list(own.values())[-1]} if own else {}

    return draw


def _tell(analysis: str, kind: str, what: str) -> Callable[[Inspection, int | None], list[str]]:
    """Say of how many scans something is beyond chance."""

    def say(found: Inspection, which: int | None) -> list[str]:
        own = ending(results_of(found, analysis, which), kind)
        if not own:
            return []
        beyond = [name for name, result in own.items() if float(result.baseline.adjusted_p.nan_to_num(1).min()) <= 0.05]
        if not beyond:
            return [f"In none of the {len(own)} scans is any {what} beyond chance, once their number is counted in."]
        return [f"In {len(beyond)} of {len(own)} scans some {what} is beyond chance, their number counted in."]

    return say


def _delta(found: Inspection, which: int | None) -> dict[str, Any]:
    own = ending(results_of(found, "correlations", which), "delta")
    if not own:
        return {}
    values = {name: result.value for name, result in own.items()}
    return {"": spread_by_layer({"Step against size of the input, channel by channel": (values, "rank correlation")})}


def _similar(name: str, what: str) -> Callable[[Inspection, int | None], list[str]]:
    def say(found: Inspection, which: int | None) -> list[str]:
        result = results_of(found, "similarity", which)[name]
        return [] if isinstance(result, NotMeasured) else [tell_baseline(result.baseline, what, square=True)]

    return say


RELATIONS = Chapter(
    "relations",
    "Correlations",
    "What goes together",
    "Correlations between layers, and between what a scan does and what its neurons say. With thousands of pairs some "
    "are large by chance alone, so each is set beside the same with the tokens in another order.",
    (
        Exhibit(
            "cka",
            "Similarity of the layers (unbiased CKA)",
            "Bright blocks along the diagonal are groups of layers that carry the same; neighbours are alike by "
            "construction, since a layer only adds to the stream.",
            "similarity",
            one("similarity", "cka"),
            inputs=ACROSS,
            say=_similar("cka", "similarity of two layers"),
        ),
        Exhibit(
            "layer-correlation",
            "Correlation of the same channel in two layers",
            "Where it stays high over many layers, channels keep their meaning.",
            "similarity",
            one("similarity", "correlation"),
            inputs=ACROSS,
            say=_similar("correlation", "correlation of two layers"),
        ),
        Exhibit(
            "ssm-neurons",
            "What the scan does against its neurons",
            "Rows: step, decay, write, read. A bright cell is a neuron whose activity goes with it.",
            "correlations",
            _last("correlations", "neurons"),
            say=_tell("correlations", "neurons", "correlation of scan and neuron"),
        ),
        Exhibit(
            "ssm-attention",
            "What the scan does against the rollout",
            "Whether tokens that the rollout finds important are those at which the scan writes much or forgets.",
            "correlations",
            _last("correlations", "attention"),
            say=_tell("correlations", "attention", "correlation of scan and rollout"),
        ),
        Exhibit(
            "delta-neurons",
            "Step against activation, by layer",
            "Above 0: channels that write more when they are more active; around 0: steps that do not depend on it.",
            "correlations",
            _delta,
            say=_tell("correlations", "delta", "channel's correlation"),
        ),
    ),
)


def _consistency(found: Inspection, which: int | None) -> dict[str, Any]:
    results = results_of(found, "consistency", which)
    own = ending(results, "texts") or ending(results, "images")
    if not own:
        return {}
    blocks = [place_name(name) for name in own]
    mean = [float(result.per_input.mean()) for result in own.values()]
    chance = [float(result.baseline.threshold()) for result in own.values()]
    lines = {"agreement of two inputs": mean, "chance, 95 %": chance}
    kind = (
        "Size of the channels, text against text" if ending(results, "texts") else "Size of the state, place by place"
    )
    scans = ending(results, "neurons")
    delta = ending(results, "delta")
    if not scans or not delta:
        return {"": lines_by_layer({kind: lines}, blocks, ["rank correlation"])}
    return {
        "": lines_by_layer({kind: lines}, blocks, ["rank correlation"]),
        "scans": spread_by_layer(
            {
                "Which neurons matter, input against input": (
                    {name: _pairs(result.ranks.pairs) for name, result in scans.items()},
                    "rank correlation",
                ),
                "Profile of the steps, input against input": (
                    {name: result.consistency for name, result in delta.items()},
                    "correlation, by channel",
                ),
            }
        ),
    }


def _pairs(matrix: torch.Tensor) -> torch.Tensor:
    rows, columns = torch.triu_indices(len(matrix), len(matrix), 1)
    return matrix[rows, columns]


def _say_consistency(found: Inspection, which: int | None) -> list[str]:
    results = results_of(found, "consistency", which)
    scans, delta = ending(results, "neurons"), ending(results, "delta")
    if not scans or not delta:
        return []
    at = sum(float(result.ranks.baseline.p_value) <= 0.05 for result in scans.values())
    told = [f"In {at} of {len(scans)} scans inputs agree beyond chance on which neurons matter."]
    above = torch.cat([result.consistency > result.chance for result in delta.values()]).double().mean()
    told.append(
        f"{100 * float(above):.0f} % of the channels have step profiles that agree beyond chance (5 % by luck)."
    )
    return told


def _selectivity(found: Inspection, which: int | None) -> dict[str, Any]:
    own = ending(results_of(found, "consistency", which), "selectivity")
    return {name: result for name, result in own.items()}


def _say_selectivity(found: Inspection, which: int | None) -> list[str]:
    own = ending(results_of(found, "consistency", which), "selectivity")
    return [f"{name}: {tell_baseline(result.eta_baseline, 'share of variance')}" for name, result in own.items()]


def _say_forecast(found: Inspection, which: int | None) -> list[str]:
    result = results_of(found, "prediction", which)["forecast"]
    if isinstance(result, NotMeasured):
        return []
    r2, rivals = float(result.r2[0]), (0.0, float(result.copy_r2[0]), float(result.random_r2[0]))
    verdict = "better" if r2 > max(rivals) else "no better"
    return [f"One token ahead R2 = {r2:.2f}: {verdict} than the mean, the copy and random patterns."]


def _say_retrieval(found: Inspection, which: int | None) -> list[str]:
    result = results_of(found, "prediction", which)["retrieval"]
    if isinstance(result, NotMeasured):
        return []
    return [
        f"{100 * result.accuracy:.0f} % of the next tokens are recalled; always saying the commonest one gets "
        f"{100 * result.chance:.0f} %."
    ]


ACROSS_INPUTS = Chapter(
    "across",
    "Across inputs",
    "What inputs have in common",
    "A finding on one input may be an accident of that input. Here all inputs of one shape are compared.",
    (
        Exhibit(
            "consistency",
            "Consistency across inputs",
            "Above the dotted line inputs agree more than chance; near 1 the layer does the same whatever it reads.",
            "consistency",
            _consistency,
            inputs=ACROSS,
            say=_say_consistency,
        ),
        Exhibit(
            "selectivity",
            "Neurons that tell tokens or classes apart",
            "Neurons far above the level of chance carry what the token or the class is.",
            "consistency",
            _selectivity,
            inputs=ACROSS,
            say=_say_selectivity,
        ),
        Exhibit(
            "transition",
            "How well one layer predicts the next",
            "Read the gain over the copy: at 0 the next layer's change cannot be predicted linearly on new inputs.",
            "prediction",
            one("prediction", "transition"),
            inputs=ACROSS,
        ),
        Exhibit(
            "transfer",
            "Transfer between layers along the tokens",
            "Bright cells: the row's past helps to predict the column. It is association in time, not a cause.",
            "prediction",
            one("prediction", "transfer"),
            inputs=ACROSS,
        ),
        Exhibit(
            "forecast",
            "Forecast from a memory of patterns",
            "Above 0 the nearest patterns of other inputs foretell the states to come; compare with the copy.",
            "prediction",
            one("prediction", "forecast"),
            inputs=ACROSS,
            say=_say_forecast,
        ),
        Exhibit(
            "retrieval",
            "Retrieval of the next token from a memory of patterns",
            "Beyond the shaded chance the states hold what comes next, on texts that the memory has not seen.",
            "prediction",
            one("prediction", "retrieval"),
            inputs=ACROSS,
            say=_say_retrieval,
        ),
    ),
)
