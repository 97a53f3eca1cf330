"""How a stream through a guard looks on a terminal: health over time, what is flagged, and the health of each layer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

BLOCKS = "\N{LOWER ONE EIGHTH BLOCK}\N{LOWER ONE QUARTER BLOCK}\N{LOWER THREE EIGHTHS BLOCK}\N{LOWER HALF BLOCK}"
BLOCKS += "\N{LOWER FIVE EIGHTHS BLOCK}\N{LOWER THREE QUARTERS BLOCK}\N{LOWER SEVEN EIGHTHS BLOCK}\N{FULL BLOCK}"
FULL, EMPTY = "\N{FULL BLOCK}", "\N{LIGHT SHADE}"
WIDE = 56  # batches of the sparkline
WELL, ILL = 0.9, 0.5  # mean health from which on it is shown green, and below which red


@dataclass
class Seen:
    """What was seen of a stream, an entry a batch.

    phase: part of the schedule. images: in the batch. health: mean over samples of the least health over the sites.
    unhealthy: share of samples with a health below 1. repaired: share that was moved. bar: p-value up to which samples
    are repaired. sites: mean health by site. right, bare: right answers with and without the guard; None if unknown.
    """

    phase: list[str] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    unhealthy: list[float] = field(default_factory=list)
    repaired: list[float] = field(default_factory=list)
    bar: list[float] = field(default_factory=list)
    sites: dict[str, list[float]] = field(default_factory=dict)
    right: list[int | None] = field(default_factory=list)
    bare: list[int | None] = field(default_factory=list)

    def add(self, phase: str, count: int, guarded: Any, right: int | None, bare: int | None) -> None:
        """Write down a batch that has just passed a guarded model."""
        passage, health = guarded.last, guarded.last_health
        flagged = passage.flagged
        moved = any(report.realignment is not None for report in passage.reports.values())
        self.phase.append(phase)
        self.images.append(count)
        self.health.append(float(health.double().mean()))
        self.unhealthy.append(float((health < 1).double().mean()))
        self.repaired.append(0.0 if flagged is None or not moved else float(flagged.double().mean()))
        self.bar.append(float(passage.bar))
        for key, report in passage.reports.items():
            self.sites.setdefault(key, []).append(float(report.health.double().mean()))
        self.right.append(right)
        self.bare.append(bare)

    def accuracy(self, which: str, last: int = 0) -> float | None:
        """Give the share of right answers ("right" or "bare") over the last batches, or all; None if not known."""
        values, images = getattr(self, which)[-last:], self.images[-last:]
        return None if None in values or not values else sum(values) / sum(images)


def sparkline(values: Sequence[float], width: int = WIDE) -> str:
    """Draw shares as a line of blocks, the newest last.

    Example:
        >>> sparkline([0.0, 0.5, 1.0])
        '▁▅█'
    """
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[min(top, max(0, round(value * top + 0.01)))] for value in values[-width:])


def gauge(value: float, width: int = 24) -> str:
    """Draw a share as a bar.

    Example:
        >>> gauge(0.5, 4)
        '██░░'
    """
    full = round(min(max(value, 0.0), 1.0) * width)
    return FULL * full + EMPTY * (width - full)


def line_of(seen: Seen, since: int) -> str:
    """Word the last batches in a line, for where there is no terminal.

    Args:
        seen: so far.
        since: how many batches to sum up.
    """
    done, part = sum(seen.images), slice(-since, None)
    words = [f"{done} images, {seen.phase[-1]}", f"health {_mean(seen.health[part]):.2f}"]
    words += [f"unhealthy {100 * _mean(seen.unhealthy[part]):.0f} %"]
    words += [f"repaired {100 * _mean(seen.repaired[part]):.0f} %", f"bar {seen.bar[-1]:.2f}"]
    right, bare = seen.accuracy("right", since), seen.accuracy("bare", since)
    if right is not None and bare is not None:
        words.append(f"right {100 * right:.0f} % (bare {100 * bare:.0f} %)")
    return "; ".join(words)


def view(seen: Seen, total: int, name: str) -> RenderableType:
    """Draw the state of a stream as a panel for a live terminal.

    Args:
        seen: so far; at least one batch.
        total: images of the stream.
        name: of the model.
    """
    facts = Table.grid(padding=(0, 2))
    for value, title in ((seen.health, "health"), (seen.unhealthy, "unhealthy"), (seen.repaired, "repaired")):
        facts.add_row(title, _coloured(value, good_if_full=title == "health"), f"{100 * value[-1]:.0f} %")
    facts.add_row("p-value bar", Text(gauge(seen.bar[-1], WIDE), style="cyan"), f"{seen.bar[-1]:.2f}")
    layers = Table.grid(padding=(0, 2))
    for key, values in seen.sites.items():
        layers.add_row(f"  {key}", Text(gauge(values[-1]), style=_colour(values[-1])), f"{values[-1]:.2f}")
    parts: list[RenderableType] = [Text(phases(seen), style="dim"), facts, Text("health by layer"), layers]
    right, bare = seen.accuracy("right", 5), seen.accuracy("bare", 5)
    if right is not None and bare is not None:
        parts.append(Text(f"right, last 5 batches: {100 * right:.0f} % with the guard, {100 * bare:.0f} % without"))
    title = f"{name}: {seen.phase[-1]}, {sum(seen.images)} of {total} images"
    return Panel(Group(*parts), title=title, width=86)


def phases(seen: Seen) -> str:
    """Write the parts of the schedule that were seen, with their images, such as "clean 200 > noise 0.3 100".

    Example:
        >>> phases(Seen(phase=["clean", "clean", "noise 0.3"], images=[50, 50, 20]))
        'clean: 100 images > noise 0.3: 20 images'
    """
    found: list[tuple[str, int]] = []
    for name, count in zip(seen.phase, seen.images, strict=True):
        if found and found[-1][0] == name:
            found[-1] = name, found[-1][1] + count
        else:
            found.append((name, count))
    return " > ".join(f"{name}: {count} images" for name, count in found)


def _coloured(values: Sequence[float], *, good_if_full: bool) -> Text:
    """Draw a sparkline, each batch in the colour of how well it was."""
    line = Text()
    for value in values[-WIDE:]:
        line.append(sparkline([value]), style=_colour(value if good_if_full else 1 - value))
    return line


def _colour(good: float) -> str:
    return "green" if good >= WELL else "red" if good < ILL else "yellow"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
