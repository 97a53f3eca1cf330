"""Draw any result: one function, chosen by the result's type."""

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

import torch
from matplotlib.figure import Figure

from mamba_mender._interval import wilson_interval
from mamba_mender.inspection import Curve, Diagnosis, ExternalScore, InternalScore, SampleGroup
from mamba_mender.repair import AblationRow, MendResult
from mamba_mender.report.interval_chart import interval_chart
from mamba_mender.report.line_chart import Line, Panel, line_chart
from mamba_mender.report.overlay_sheet import overlay_sheet
from mamba_mender.report.palette import EASY, HARD
from mamba_mender.report.score_chart import external_chart
from mamba_mender.report.training_chart import training_chart
from mamba_mender.training import Evaluation, TrainResult

MOST_ROWS = 8


@singledispatch
def plot(result: Any) -> Figure:
    """Draw a result of this package.

    ======================  ==========================================================
    Diagnosis               its external scores over the blocks, easy against hard
    SampleGroup             its images with their relevance maps, block by block
    Curve                   one score over the blocks, easy against hard
    dict of scores          a sweep: the scores over the thresholds
    MendResult              each arm's right answers, and its gain over the control
    list of AblationRow     the gain over the control of each constrained place
    TrainResult             losses over the steps
    Evaluation              right answers by class
    ======================  ==========================================================

    Args:
        result: one of these.

    Returns:
        A figure; ``figure.savefig(path)`` writes it. No window is opened.

    Raises:
        TypeError: there is no drawing of such a result.

    Example:
        >>> figure = plot(Curve(blocks=[-1, 0], easy=[0.5, 0.6], hard=[0.2, 0.1]))
        >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
        ['embedding', '0']
    """
    known = sorted(kind.__name__ for kind in plot.registry if kind is not object)
    raise TypeError(f"plot: there is no drawing of {type(result).__name__}; give one of {', '.join(known)}.")


@plot.register
def _(result: Diagnosis) -> Figure:
    return external_chart(result)


@plot.register
def _(result: Curve) -> Figure:
    places = ["embedding" if block < 0 else str(block) for block in result.blocks]
    lines = {
        "easy": Line([_number(value) for value in result.easy], EASY, "o"),
        "hard": Line([_number(value) for value in result.hard], HARD, "^"),
    }
    return line_chart([Panel("", lines, "after block", "score", places)])


@plot.register
def _(result: SampleGroup) -> Figure:
    whole = sorted(key for key in result.maps if not key.direction)
    state = "h" if any(key.state == "h" for key in whole) else whole[0].state
    keys = [key for key in whole if key.state == state]
    rows = torch.linspace(0, len(result.labels) - 1, min(MOST_ROWS, len(result.labels))).long().unique()
    return overlay_sheet(
        result.images[rows].float() / 255,
        {str(key): result.maps[key][rows] for key in keys},
        rows=[f"class {label}" for label in result.labels[rows].tolist()],
        masks=None if result.masks is None else result.masks[rows, 0],
    )


@plot.register(dict)
def _(result: Mapping[float, ExternalScore | InternalScore]) -> Figure:
    if not result or not all(isinstance(score, ExternalScore | InternalScore) for score in result.values()):
        raise TypeError("plot: a dict must be a sweep, threshold to ExternalScore or InternalScore, and not empty.")
    external = isinstance(next(iter(result.values())), ExternalScore)
    names = ("perturbation_ratio", "iou", "coverage") if external else ("simplicity", "homogeneity")
    panels = []
    for name in names:
        values = [_number(getattr(score, name)) for score in result.values()]
        line = Line(values, EASY, "o", x=list(result))
        panels.append(Panel(name.replace("_", " "), {name: line}, "alpha" if external else "beta"))
    return line_chart(panels, columns=len(panels))


@plot.register
def _(result: MendResult) -> Figure:
    panels = {"right on test, %": {name: arm.accuracy["test"] for name, arm in result.arms.items()}}
    gains = {name: arm.gain["test"] for name, arm in result.arms.items() if "test" in arm.gain}
    return interval_chart(panels | ({"gain over the control, points": gains} if gains else {}), "", shared=False)


@plot.register(list)
def _(result: list[AblationRow]) -> Figure:
    if not result or not all(isinstance(row, AblationRow) for row in result):
        raise TypeError("plot: a list must hold AblationRow, at least one.")
    panels: dict[str, dict] = {}
    for row in result:
        panels.setdefault(f"{row.loss}, by {row.table}", {})[row.place] = row.gain["test"]
    return interval_chart(panels, "gain over the control, points", zero=True)


@plot.register
def _(result: TrainResult) -> Figure:
    figure = training_chart({"run": result.history})
    if figure is None:
        raise ValueError("plot: this TrainResult has no history, so there is nothing to draw.")
    return figure


@plot.register
def _(result: Evaluation) -> Figure:
    classes = range(result.probabilities.shape[1])
    right = [int(result.correct[result.labels == number].sum()) for number in classes]
    seen = [int((result.labels == number).sum()) for number in classes]
    panel = {f"class {n}": wilson_interval(right[n], seen[n]) for n in classes if seen[n]}
    return interval_chart({"right answers by class": panel}, "right answers, %")


def _number(value: Any) -> float:
    """Take a score as it is, the mean over classes of one that has a number a class, and no point for None."""
    if value is None:
        return float("nan")
    return float(value.double().mean()) if isinstance(value, torch.Tensor) else value
