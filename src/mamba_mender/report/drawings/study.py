"""Drawings of what an inspection finds by itself: the residual stream, and the proof of its records."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from mamba_mender.inspection.study.activations import Activations
from mamba_mender.inspection.study.scan_proof import ScanProof
from mamba_mender.report.line_chart import Line, Panel, line_chart
from mamba_mender.report.palette import EASY, HARD
from mamba_mender.report.plot import plot
from mamba_mender.taps import EMBEDDING, StateKey


@plot.register
def _(result: Activations) -> Figure:
    norm = Line(result.norm.median(1).values.tolist(), EASY, "o")
    change = Line(result.change.median(1).values.tolist(), HARD, "^")
    turn = Line((1 - result.cosine.median(1).values).tolist(), EASY, "s")
    names = name_states(result.keys)
    return line_chart(
        [
            Panel("Length of the residual stream", {"median token": norm}, "after layer", "length", names),
            Panel(
                "What the layers since the last one add",
                {"length added": change, "turn, 1 \N{MINUS SIGN} cosine": turn},
                "after layer",
                "share of the length",
                names[1:],
            ),
        ]
    )


@plot.register
def _(result: ScanProof) -> Figure:
    names = list(result.y_error)
    smallest = 1e-17  # a record that is exact to the last digit is drawn here, not at minus infinity
    lines = {
        "y": Line([max(value, smallest) for value in result.y_error.values()], EASY, "o"),
        "last state": Line([max(value, smallest) for value in result.state_error.values()], HARD, "^"),
    }
    bound = max(result.bound.values())
    places = [str(number) for number in range(len(names))]
    figure = line_chart(
        [Panel("Recorded scans against float64", lines, "scan", "largest relative error", places, (bound, "bound"))]
    )
    figure.axes[0].set_yscale("log")
    figure.axes[0].set_ylim(min(min(line.y) for line in lines.values()) / 10, bound * 10)
    return figure


def name_states(keys: Sequence[StateKey]) -> list[str]:
    """Name the places of the residual stream along an axis."""
    return ["emb." if key.block == EMBEDDING else str(key.block) for key in keys]
