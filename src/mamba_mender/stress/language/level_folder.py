"""The folder of a stressed language model: a file for each kind and level of noise."""

import json
from pathlib import Path

from mamba_mender._check import UserError
from mamba_mender._files import write_atomic

Losses = tuple[list[float], list[float]]  # of each window's continuation, and of its disturbed context


class LevelFolder:
    """Keep the levels that are done, a file each, and know those that an earlier run left.

    Args:
        out: the folder; made if missing.
        own_mark: a hash of all that decides the levels.
        resume: go on with levels that the folder holds.

    Raises:
        UserError: it holds levels, and is not to be gone on with.
    """

    def __init__(self, out: Path, own_mark: str, *, resume: bool) -> None:
        self.out, self.mark = out, own_mark
        if not resume and (out / "cells").is_dir() and any((out / "cells").iterdir()):
            raise UserError(
                f"stress_language: {str(out)!r} holds levels already; give another folder, or go on with it (resume)."
            )
        (out / "cells").mkdir(parents=True, exist_ok=True)

    def path(self, kind: str, level: float) -> Path:
        """Tell the file of a level."""
        return self.out / "cells" / f"{kind}-{level!r}.json"

    def read(self, kind: str, level: float) -> Losses | None:
        """Read a level, or None if it is not there.

        Raises:
            UserError: its file is damaged, or of another run.
        """
        path = self.path(kind, level)
        if not path.exists():
            return None
        try:
            told = json.loads(path.read_bytes())
            known, loss, noised = told["mark"], told["loss"], told["noised"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"stress_language: {str(path)!r} is damaged ({error}); delete it, and the level is run again."
            ) from error
        if known != self.mark:
            raise UserError(
                f"stress_language: {str(path)!r} is of another run: its model, text, windows or noise were other ones; "
                "give another folder."
            )
        return loss, noised

    def write(self, kind: str, level: float, losses: Losses) -> None:
        """Keep a level."""
        told = {"mark": self.mark, "kind": kind, "level": level, "loss": losses[0], "noised": losses[1]}
        write_atomic(self.path(kind, level), json.dumps(told).encode())
