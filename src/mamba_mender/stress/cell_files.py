"""The folder of a stress test: what the run is, and a file for each cell."""

import json
from pathlib import Path
from typing import Any

from mamba_mender._check import UserError
from mamba_mender._files import write_atomic
from mamba_mender.stress.cell_result import CellResult

SETTINGS, CELLS = "stress.json", "cells"
FIXED = ("seed", "batch_size", "images", "counts", "warmup", "stream_warmup", "imbalance")
GROWING = ("models", "attacks", "faults", "shifts", "limits")  # more may come; what is there stays as it is


class CellFolder:
    """Keep results as they come, and know those that an earlier run or another process left.

    More models, levels, attacks, faults and streams may be added to a folder; what decides the cells that are there
    must stay.

    Args:
        out: the folder; made if missing.
        settings: what the run is.
        marks: by the cell's key, a hash of all that decides it.
        resume: go on with a run that the folder holds.
        first: whether this process, of several, writes what the run is.

    Raises:
        UserError: the folder holds a run and is not to be gone on with, or another one.
    """

    def __init__(
        self, out: Path, settings: dict[str, Any], marks: dict[str, str], *, resume: bool, first: bool
    ) -> None:
        self.out, self.settings, self.marks = out, json.loads(json.dumps(settings)), marks
        path = out / SETTINGS
        if path.exists():
            if not resume:
                raise UserError(
                    f"stress_test: {str(out)!r} holds a run already; give another folder, or go on with it (resume)."
                )
            self._join(_read_settings(path))
        elif (out / "config.json").exists():
            raise UserError(f"stress_test: {str(out)!r} holds a run of mend or train; give another folder.")
        (out / CELLS).mkdir(parents=True, exist_ok=True)
        if first:
            write_atomic(path, json.dumps(self.settings, indent=1).encode())

    def read(self) -> dict[str, CellResult]:
        """Read the cells of this run that are there.

        Raises:
            UserError: a file is damaged, or of another run.
        """
        found = {}
        for key, mark in self.marks.items():
            path = _path(self.out, key)
            if path.exists():
                found[key], known = _read_cell(path)
                if known != mark:
                    raise UserError(
                        f"stress_test: {str(path)!r} is of another run: its model, images or attack were other ones; "
                        "give another folder."
                    )
        return found

    def write(self, result: CellResult) -> None:
        """Keep the result of one cell."""
        key = result.cell.key
        write_atomic(_path(self.out, key), result.to_json(self.marks[key]))

    def _join(self, earlier: dict[str, Any]) -> None:
        """Add what an earlier run had and this one has not.

        Raises:
            UserError: what decides the cells differs.
        """
        now = self.settings
        changed = [f"{k} was {earlier.get(k)}, is {now[k]}" for k in FIXED if earlier.get(k) != now[k]]
        for part in GROWING:
            known = earlier.get(part, {})
            changed += [
                f"{name!r} of {part} was {known[name]}, is {value}"
                for name, value in now[part].items()
                if name in known and known[name] != value
            ]
            now[part] = known | now[part]
        if changed:
            raise UserError(
                f"stress_test: {str(self.out)!r} was begun with other settings: {'; '.join(changed)}; give another "
                "folder."
            )
        now["cells"] = list(dict.fromkeys([*earlier.get("cells", []), *now["cells"]]))


def read_all(folder: Path) -> tuple[dict[str, Any], dict[str, CellResult]]:
    """Read what a folder's run is, and all its cells that are there.

    Raises:
        UserError: the folder holds no stress test, or a file is damaged.
    """
    path = folder / SETTINGS
    if not path.exists():
        raise UserError(f"StressResult: {str(folder)!r} holds no stress test ({SETTINGS} is not there).")
    settings = _read_settings(path)
    paths = {key: _path(folder, key) for key in settings["cells"]}
    return settings, {key: _read_cell(path)[0] for key, path in paths.items() if path.exists()}


def _path(out: Path, key: str) -> Path:
    return out / CELLS / f"{key}.json"


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"stress_test: {str(path)!r} is damaged ({error}); give another folder.") from error


def _read_cell(path: Path) -> tuple[CellResult, str]:
    try:
        return CellResult.from_json(path.read_bytes())
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"stress_test: {str(path)!r} is damaged ({error}); delete it, and the cell is run again."
        ) from error
