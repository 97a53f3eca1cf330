"""The most memory that the process has held."""

import sys

import torch


def peak_memory() -> dict[str, int]:
    """Read the largest memory so far, in bytes: of the process, and of the GPU where there is one.

    Example:
        >>> peak_memory()["process"] > 10_000_000
        True
    """
    found: dict[str, int] = {}
    if sys.platform != "win32":
        import resource  # not on Windows

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["process"] = most if sys.platform == "darwin" else most * 1024
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.max_memory_allocated()
    return found
