"""How the arms trained."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mamba_mender.report.line_chart import Line, Panel, line_chart
from mamba_mender.report.palette import look

CURVES = {  # what a line of metrics may hold, and how it is named here
    "loss": "total loss",
    "accuracy": "right answers on training batches",
    "external": "external loss",
    "internal": "internal loss",
}


def training_chart(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure | None:
    """Draw one panel a measured quantity, one line an arm, over the steps.

    Args:
        histories: arm to its lines of metrics; those of kind "step" are drawn.

    Returns:
        The figure; None when no arm has measured anything.

    Example:
        >>> chart = training_chart({"control": [{"kind": "step", "step": 1, "loss": 2.0}]})
        >>> [axis.get_title(loc="left") for axis in chart.axes]
        ['total loss']
    """
    panels = []
    for name, title in CURVES.items():
        lines = {}
        for arm, history in histories.items():
            steps = [entry for entry in history if entry.get("kind") == "step" and entry.get(name) is not None]
            if steps:
                values = _smooth([float(entry[name]) for entry in steps])
                dashed = arm in ("control", "control-time")
                lines[look(arm).label] = Line(values, look(arm).colour, dashed=dashed, x=[e["step"] for e in steps])
        if lines:
            panels.append(Panel(title, lines, "step"))
    return line_chart(panels, height=2.7) if panels else None


def _smooth(values: list[float], memory: float = 0.7) -> list[float]:
    """Average each value with those before it, so that single batches do not hide the course."""
    smooth, total = [], 0.0
    for step, value in enumerate(values, 1):
        total = memory * total + (1 - memory) * value
        smooth.append(total / (1 - memory**step))
    return smooth
