"""Draw the README's figure from the scan's results: other scans against ours, and the cost of a token by length."""

from pathlib import Path
from typing import Any

from _scans import BOTH, FORWARD, WAYS

FIGURE = "docs/speed.svg"
PEERS = [name for name in (*WAYS, "plain loop, compiled") if not name.startswith("ours")]
COLOURS = {FORWARD: "#1f77b4", BOTH: "#d95f02"}
PANELS = {"a": "8 x 384 channels, length 197", "c": "64 x 128 channels, length 65"}


def draw_speed(results: dict[str, Any], path: Path) -> None:
    """Draw bars of each peer's time in ours, and, where lengths were measured, time per token against length."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "speed", "font.size": 9, "svg.fonttype": "none"}
    from matplotlib import pyplot as plt

    measured = "lengths" in results
    figure, axes = plt.subplots(1, 3 if measured else 2, figsize=(10.5 if measured else 7, 2.8), layout="constrained")
    for axis, (shape, title) in zip(axes, PANELS.items(), strict=False):
        bars(axis, [row for row in results["rows"] if row["shape"] == shape], title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    if measured:
        tokens(axes[2], results["lengths"])
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)


def bars(axis: Any, rows: list[dict[str, Any]], title: str) -> None:
    """Draw how many times as long as ours each peer takes."""
    ratios = {(row["way"], row["pass"]): row["ratio"] for row in rows if "ratio" in row}
    names = [name for name in PEERS if any((name, what) in ratios for what in COLOURS)]
    for shift, (what, colour) in zip((-0.2, 0.2), COLOURS.items(), strict=True):
        own = [(at + shift, ratios[name, what]) for at, name in enumerate(names) if (name, what) in ratios]
        drawn = axis.barh([at for at, _ in own], [ratio for _, ratio in own], 0.38, color=colour, label=what)
        axis.bar_label(drawn, fmt="%.0f", padding=2, fontsize=8)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlim(1, 3 * max(ratios.values()))
    axis.set_title(f"time over ours, {title}", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)


def tokens(axis: Any, lengths: dict[str, list[dict[str, Any]]]) -> None:
    """Draw what a token costs at each length."""
    for what, colour in COLOURS.items():
        own = [row for row in lengths["wide"] if row["pass"] == what]
        axis.plot(
            [row["sizes"][2] for row in own], [row["ns_per_token"] / 1e3 for row in own], "o-", color=colour, ms=3
        )
    axis.set_xscale("log", base=2)
    axis.set_xticks([2**k for k in range(10, 18, 2)], ["1k", "4k", "16k", "65k"])
    axis.set_ylim(0)
    axis.set_xlabel("length")
    axis.set_title("µs a token, 256 channels", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
