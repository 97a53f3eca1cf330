"""A page of sections: sentences, tables and figures, one self-contained file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.figure import Figure

from mamba_mender import __version__
from mamba_mender._files import write_atomic
from mamba_mender._interval import Interval
from mamba_mender.report.palette import style
from mamba_mender.report.picture import Picture
from mamba_mender.report.story import Card

DOTS = 120  # of the PNG files, per inch


@dataclass(frozen=True)
class Cell:
    """One cell of a table: a value, something small below it, and a tag of a tone ("good", "bad", "open").

    words: the value is a sentence, which may be broken into lines.
    """

    value: str
    small: str = ""
    tag: str = ""
    tone: str = ""
    words: bool = False


@dataclass(frozen=True)
class TableRow:
    """One row of a table: what it is about, and its cells."""

    title: str
    cells: Sequence[Cell]
    small: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    caption: what it shows, for those who cannot see it. corner: above the rows' titles.
    columns: titles, each with something small below. note: said below the table.
    """

    caption: str
    corner: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[TableRow]
    note: str = ""


@dataclass(frozen=True)
class Plate:
    """A figure with its name, which is its file's too, and how to read it."""

    name: str
    drawn: Picture
    caption: str


@dataclass(frozen=True)
class Section:
    """One section of a page.

    place: its anchor. short: in the list of sections. said: sentences. missing: what is not there, and why.
    """

    place: str
    short: str
    title: str
    said: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Plate] = ()
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """A page: its head, its sections, and how it was made.

    kicker: said above the title. facts: names and values. words: a glossary. commands: that make it again.
    """

    kicker: str
    title: str
    lead: str
    cards: Sequence[Card]
    sections: Sequence[Section]
    facts: Sequence[tuple[str, str]]
    commands: Sequence[str] = ()
    words: Sequence[tuple[str, str]] = field(default_factory=tuple)


def write_sections(page: Page, path: Path) -> Path:
    """Write a page; it needs nothing beside it and refers to no address.

    Args:
        page: what it says.
        path: where to; missing folders are made.

    Returns:
        The path.
    """
    environment = Environment(
        loader=PackageLoader("mamba_mender.report"), autoescape=select_autoescape(), undefined=StrictUndefined
    )
    content = environment.get_template("sections.html").render(
        **vars(page), folder=path.resolve().parent.name, date=date.today().isoformat(), version=__version__
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content.encode())
    return path


def hang_figure(figure: Figure | None, folder: Path, name: str, title: str, caption: str) -> list[Plate]:
    """Put a figure on a page, and into a folder as PNG; nothing where there is none.

    Args:
        figure: drawn, or None.
        folder: for the file.
        name: of the file and the anchor.
        title: of the figure.
        caption: how to read it.
    """
    if figure is None:
        return []
    buffer = BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=DOTS, facecolor="white")
    figure.set_layout_engine("none")  # everything is in its place: it need not be found again
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{name}.png", buffer.getvalue())
    return [Plate(name, Picture.of(figure, title, f"{title}. {caption}"), caption)]


def share_cell(value: Interval, gain: Interval | None = None) -> Cell:
    """Write a share in percent with its interval, and the gain over a base as a tag in points.

    Example:
        >>> cell = share_cell(Interval(0.5, 0.4, 0.6), Interval(0.1, 0.05, 0.15))
        >>> cell.value, cell.small, cell.tag, cell.tone
        ('50.0 %', '40.0 to 60.0', '+10.0', 'good')
    """
    value_words, span = f"{100 * value.mean:.1f} %", f"{100 * value.low:.1f} to {100 * value.high:.1f}"
    if gain is None:
        return Cell(value_words, span)
    tone = "good" if gain.low > 0 else "bad" if gain.high < 0 else "open"
    return Cell(value_words, span, f"{100 * gain.mean:+.1f}".replace("-", "\N{MINUS SIGN}"), tone)
