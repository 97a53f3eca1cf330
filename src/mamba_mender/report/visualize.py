"""Pictures of a diagnosis as files, in the run folder's layout."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from mamba_mender._files import write_atomic
from mamba_mender.inspection import Diagnosis
from mamba_mender.report.channel_chart import channel_chart
from mamba_mender.report.palette import style
from mamba_mender.report.places import channel_state, name_state
from mamba_mender.report.plot import plot

GROUPS = {"hdata": "easy", "ldata": "hard"}  # h and l for high and low confidence


def visualize(diagnosis: Diagnosis, folder: Path) -> list[Path]:
    """Draw the relevance maps and the channels of easy and of hard images into files.

    Writes ``folder/visualize/{hdata,ldata}/external/maps.png`` and ``.../internal/channels.png``.

    Args:
        diagnosis: what to draw.
        folder: the run folder.

    Returns:
        The files.
    """
    key, classes = channel_state(diagnosis), diagnosis.classes
    paths = []
    for name, kind in GROUPS.items():
        group = getattr(diagnosis, kind)
        vectors = group.vectors[key].unflatten(0, (len(classes), -1))
        channels = channel_chart({f"{kind} images, {name_state(key)}": vectors}, classes)
        place = folder / "visualize" / name
        paths.append(_save(plot(group), place / "external" / "maps.png"))
        paths.append(_save(channels, place / "internal" / "channels.png"))
    return paths


def _save(figure: Figure, path: Path) -> Path:
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=120, facecolor="white")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())
    return path
