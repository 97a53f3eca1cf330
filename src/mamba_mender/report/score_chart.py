"""Scores of a diagnosis as curves: over the blocks, and over the thresholds."""

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from mamba_mender.inspection import Diagnosis
from mamba_mender.report.line_chart import Line, Panel, line_chart
from mamba_mender.report.palette import EASY, HARD
from mamba_mender.taps import EMBEDDING, StateKey

EXTERNAL = {  # name of the score: (title, axis label)
    "outside": ("relevance outside the mask", "share"),
    "perturbation_ratio": ("perturbation ratio", "shown alone / removed"),
    "iou": ("overlap with the mask", "IoU"),
    "score": ("external score", "ratio x overlap"),
}
INTERNAL = {"simplicity": "share of unused channels", "homogeneity": "agreement within a class"}


def external_chart(before: Diagnosis, after: Diagnosis | None = None, states: Sequence[str] = ("h", "s")) -> Figure:
    """Draw the external scores over the blocks, a row of panels a score, a column a state.

    Args:
        before: of the base.
        after: on the same images, after mending.
        states: the letters to show; one that was not diagnosed is left out.

    Returns:
        The figure.
    """
    known = [state for state in states if any(key.state == state for key in before.easy.external)]
    known = known or sorted({key.state for key in before.easy.external})[:2]
    panels = []
    for score, (title, label) in EXTERNAL.items():
        for state in known:
            curves = {name: found.curve(score, state) for name, found in _both(before, after).items()}
            lines = {}
            for name, curve in curves.items():
                lines |= _lines(name, {"easy": curve.easy, "hard": curve.hard})
            if lines:
                places = [_place(block) for block in next(iter(curves.values())).blocks]
                level = _even(before, state) if score == "outside" else None
                panels.append(Panel(f"{title}, state {state}", lines, "after block", label, places, level))
    return line_chart(panels, columns=len(known), height=2.5)


def internal_chart(before: Diagnosis, after: Diagnosis | None = None, state: str = "x") -> Figure | None:
    """Draw simplicity and homogeneity of a state over the blocks, a row of panels a score, a column a direction.

    Args:
        before: of the base.
        after: on the same images, after mending.
        state: the letter.

    Returns:
        The figure; None if the state was not diagnosed.
    """
    directions = sorted({key.direction for key in before.easy.internal if key.state == state}, reverse=True)
    panels = []
    for score, label in INTERNAL.items():
        for direction in directions:
            lines, places = {}, []
            for name, found in _both(before, after).items():
                curve = found.curve(score, state, direction)
                lines |= _lines(name, {"easy": curve.easy, "hard": curve.hard})
                places = [_place(block) for block in curve.blocks]
            title = f"{score}, {direction} scan" if direction else score
            panels.append(Panel(title, lines, "block", label, places))
    return line_chart(panels, columns=max(1, len(directions)), height=2.5) if panels else None


def sweep_chart(before: Diagnosis, after: Diagnosis | None, key: StateKey) -> Figure:
    """Draw the scores at other thresholds: external over alpha where that was swept, internal over beta.

    Args:
        before: of the base.
        after: on the same images, after mending.
        key: the state whose channels are swept over beta.

    Returns:
        The figure.
    """
    panels = []
    for swept in before.easy.alpha_sweep:
        for score in ("perturbation_ratio", "iou"):
            title, label = EXTERNAL[score]
            lines = _swept(before, after, lambda group, k=swept: group.alpha_sweep.get(k, {}), score)
            if lines:
                panels.append(Panel(f"{title}, state {swept}", lines, "alpha", label))
    for score, label in INTERNAL.items():
        lines = _swept(before, after, lambda group: group.beta_sweep(key), score)
        panels.append(Panel(f"{score}, state {key}", lines, "beta", label))
    return line_chart(panels, height=2.5)


def _even(before: Diagnosis, state: str) -> tuple[float, str] | None:
    """Give the share of the images outside their masks, which a map without any preference would have."""
    share = before.curve("background", state).hard[0]
    return None if share is None else (share, "evenly spread")


def _both(before: Diagnosis, after: Diagnosis | None) -> dict[str, Diagnosis]:
    return {"before": before} if after is None else {"before": before, "after mending": after}


def _swept(before: Diagnosis, after: Diagnosis | None, sweep: Callable, score: str) -> dict[str, Line]:
    lines = {}
    for name, found in _both(before, after).items():
        values, thresholds = {}, []
        for kind in ("easy", "hard"):
            scores = sweep(getattr(found, kind))
            thresholds = list(scores)
            values[kind] = [_number(getattr(each, score)) for each in scores.values()]
        lines |= _lines(name, values, thresholds)
    return lines


def _lines(name: str, values: dict[str, list[float | None]], x: Sequence[float] | None = None) -> dict[str, Line]:
    """Make a line for the easy and one for the hard images, dashed after mending; none where nothing was measured."""
    lines = {}
    for kind, colour, marker in (("easy", EASY, "o"), ("hard", HARD, "^")):
        numbers = [float("nan") if value is None else value for value in values[kind]]
        if any(value is not None for value in values[kind]):
            lines[f"{kind}, {name}"] = Line(numbers, colour, marker, dashed=name != "before", x=x)
    return lines


def _number(value: Tensor | float | None) -> float | None:
    """Take a score as it is, or the mean over classes of one that has a number a class."""
    return float(value.double().mean()) if isinstance(value, Tensor) else value


def _place(block: int) -> str:
    return "embedding" if block == EMBEDDING else str(block)
