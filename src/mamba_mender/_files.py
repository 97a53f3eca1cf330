"""Files that are written whole or not at all."""

import os
from pathlib import Path


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    The content goes beside its place, is flushed to the disk, and is moved there; if that fails, nothing is left
    behind and the old file stays.

    Args:
        path: where to write; its folder exists.
        content: the bytes.

    Raises:
        OSError: the disk is full or the folder closed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "state.json"
        >>> write_atomic(path, b"{}")
        >>> path.read_text(), path.with_name("state.json.tmp").exists()
        ('{}', False)
    """
    beside = path.with_name(path.name + ".tmp")
    try:
        write_flushed(beside, content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_flushed(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
