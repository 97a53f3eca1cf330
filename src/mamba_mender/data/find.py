"""Where the files of a named data set lie."""

import os
from pathlib import Path

from mamba_mender._check import UserError

IDX_FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}


def find_data(name: str) -> Path:
    """Find the folder of a named IDX data set.

    Looks in ``$MAMBA_MENDER_DATA/NAME``, in ``shared/data/NAME`` and ``data/NAME`` of the working directory and
    each folder above it, and in ``/usr/share/datasets/NAME`` (Debian's package ``dataset-fashion-mnist``).

    Args:
        name: the data set's name, such as "fashion-mnist".

    Returns:
        The first folder that has the training images.

    Raises:
        UserError: no folder has them; the message says which files to put where.
    """
    places = _places(name)
    for place in places:
        if idx_file(place, "train", "images") is not None:
            return place
    wanted = ", ".join(f"{file}.gz" for file in IDX_FILES.values())
    raise UserError(
        f"load_data: the files of {name!r} were not found. Put {wanted} into {Path.cwd() / 'data' / name} or into "
        f"$MAMBA_MENDER_DATA/{name} (looked in data/ and shared/data/ here and in each folder above, "
        f"and in {places[-1]})."
    )


def idx_file(folder: Path, split: str, kind: str) -> Path | None:
    """Name the IDX file of a split ("train" or "test") and kind ("images" or "labels") in a folder, if it is there."""
    stem = IDX_FILES[split, kind]
    names = [stem + ".gz", stem, (dotted := stem.replace("-idx", ".idx")) + ".gz", dotted]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _places(name: str) -> list[Path]:
    here = Path.cwd()
    places = [above / part / name for above in (here, *here.parents) for part in ("data", "shared/data")]
    places.append(Path("/usr/share/datasets") / name)
    if told := os.environ.get("MAMBA_MENDER_DATA"):
        places.insert(0, Path(told) / name)
    return places
