"""Draw the figures of an inspection, and say why one is missing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mamba_mender._files import write_atomic
from mamba_mender.inspection.study import Inspection
from mamba_mender.inspection.study.parts import NotMeasured
from mamba_mender.report import drawings  # noqa: F401  registers every drawing on `plot`
from mamba_mender.report.chapters import ACROSS, CHAPTERS, Chapter, Exhibit
from mamba_mender.report.picture import Picture
from mamba_mender.report.plot import plot

DOTS = 150  # of the PNG files, per inch


@dataclass(frozen=True)
class Plate:
    """An exhibit as it stands on the page.

    place: its anchor. title, look: as in the exhibit. said: sentences that depend on what was found.
    pictures: its figures. missing: why there is none.
    """

    place: str
    title: str
    look: str
    said: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    missing: str = ""


def hang(
    found: Inspection, folder: Path, advance: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[Chapter, list[Plate]]]:
    """Draw every exhibit that the inspection has results for; each figure also goes into a folder as PNG.

    Args:
        found: the inspection.
        folder: for the PNG files.
        advance: told how many exhibits are drawn.

    Yields:
        Each chapter with its plates; a chapter whose analyses were not run is left out.
    """
    for chapter in CHAPTERS:
        plates = []
        for exhibit in chapter.exhibits:
            plates += [plate] if (plate := _plate(found, exhibit, folder)) is not None else []
            advance(1)
        if plates:
            yield chapter, plates


def _plate(found: Inspection, exhibit: Exhibit, folder: Path) -> Plate | None:
    """Draw one exhibit; None where its analysis was not run."""
    plate, reason, shown = Plate(exhibit.name, exhibit.title, exhibit.look), "", 0
    for which in [None] if exhibit.inputs == ACROSS else range(len(found.inputs)):
        if shown and shown == exhibit.inputs:
            break
        if not found.has(exhibit.analysis, which):
            reason = reason or _reason(found, exhibit, which)
            continue
        whose = "all inputs" if which is None else found.inputs[which]
        shown += 1
        for name, drawn in exhibit.draw(found, which).items():
            if isinstance(drawn, NotMeasured):
                reason = reason or drawn.reason
                continue
            figure = drawn if isinstance(drawn, Figure) else plot(drawn)
            number = "" if which is None else f"{which:04d}-"
            _save(figure, folder / f"{number}{'-'.join(part for part in (exhibit.name, _slug(name)) if part)}.png")
            title = " \N{MIDDLE DOT} ".join(part for part in (whose, name) if part)
            plate.pictures.append(Picture.of(figure, title, f"{exhibit.title}: {title}"))
        plate.said.extend(sentence for sentence in exhibit.say(found, which) if sentence not in plate.said)
    if plate.pictures:
        return plate
    return Plate(exhibit.name, exhibit.title, exhibit.look, missing=reason) if reason else None


def _reason(found: Inspection, exhibit: Exhibit, which: int | None) -> str:
    """Say that an analysis failed, and why; nothing if it was not asked for."""
    whose = "across" if which is None else found.inputs[which]
    return next((f"{whose}: {why}" for name, own, why in found.errors if (name, own) == (whose, exhibit.analysis)), "")


def _save(figure: Figure, path: Path) -> None:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS, facecolor="white")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())


def _slug(name: Any) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in str(name)).strip("-").lower()
