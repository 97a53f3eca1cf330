"""Put a figure inside a page: one `data:` address, no file beside it."""

import base64
import io
import re

from matplotlib.figure import Figure

from mamba_mender.report.palette import GRID, INK, MUTED, style

THEME = (
    "<style>:root{--ink:#1d2129;--muted:#626a76;--grid:#d5d9e0}"
    "@media (prefers-color-scheme:dark){:root{--ink:#e6e8ec;--muted:#a2a9b5;--grid:#3a404b}}</style>"
)


def embed_figure(figure: Figure) -> str:
    """Turn a figure into the `data:` address of an SVG that follows the reader's light or dark page.

    The ink, muted and grid colours of the palette become CSS variables with a value for each scheme;
    every other colour stays as drawn.

    Args:
        figure: any figure whose text and lines use the palette's colours.

    Returns:
        An address for an ``img`` tag, ``data:image/svg+xml;base64,...``.

    Example:
        >>> embed_figure(Figure(figsize=(1, 1)))[:26]
        'data:image/svg+xml;base64,'
    """
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    for colour, name in ((INK, "ink"), (MUTED, "muted"), (GRID, "grid")):
        text = text.replace(colour, f"var(--{name})")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"(<svg[^>]*>)", lambda found: found[1] + THEME, text, count=1)
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()
