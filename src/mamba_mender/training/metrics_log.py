"""Metrics as JSON lines, in a file that a resumed run goes on with."""

import json
import math
from pathlib import Path
from typing import Any


class MetricsLog:
    """Append one JSON line a call to a file, and count its bytes.

    Args:
        path: the file; made if needed. None keeps nothing.
        keep: bytes of it that belong to the run so far; what a run wrote after its last checkpoint is cut off.

    Example:
        >>> import tempfile
        >>> log = MetricsLog(Path(tempfile.mkdtemp()) / "metrics.jsonl")
        >>> log.write({"step": 1, "loss": 2.5})
        >>> log.path.read_text(), log.size
        ('{"step": 1, "loss": 2.5}\\n', 25)
    """

    def __init__(self, path: Path | None, keep: int = 0) -> None:
        self.path = path
        self.size = keep
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.truncate(keep)

    def write(self, entry: dict[str, Any]) -> None:
        """Append a line; a number that is not finite becomes null, as JSON has none."""
        if self.path is None:
            return
        clean = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in entry.items()
        }
        line = (json.dumps(clean) + "\n").encode()
        with self.path.open("ab") as file:
            file.write(line)
        self.size += len(line)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines back."""
    return [json.loads(line) for line in path.read_text().splitlines()]
