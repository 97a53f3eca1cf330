"""A figure as it stands on the page."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from matplotlib.figure import Figure

from mamba_mender._files import write_atomic
from mamba_mender.report.embed import embed_figure

POINTS = 96  # CSS pixels an inch


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    title: said above the explanation.
    alt: what a reader who cannot see it should know.
    src: its `data:` address.
    width: at which it is drawn, in CSS pixels.
    """

    title: str
    alt: str
    src: str
    width: int

    @classmethod
    def of(cls, figure: Figure, title: str, alt: str) -> Self:
        """Embed a figure.

        Example:
            >>> Picture.of(Figure(figsize=(2, 1)), "nothing", "an empty frame").width
            192
        """
        return cls(title, alt, embed_figure(figure), round(figure.get_figwidth() * POINTS))

    def save(self, path: Path) -> None:
        """Write the figure as a file of its own; the folder is made if needed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, base64.b64decode(self.src.partition(",")[2]))
