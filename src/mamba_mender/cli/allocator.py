"""How the C library hands memory back: not at all, while a command runs."""

import ctypes
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
LARGE = 1 << 30


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the next tensor instead of returning it to the system.

    A training step frees and allocates the same megabytes every time; fresh pages have to be
    zeroed by the system first, which costs a small model up to a third of its step. The
    process's peak memory does not change. On another C library nothing is done.

    Returns:
        Whether the library took the settings.

    Example:
        >>> keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
        True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(TRIM_THRESHOLD, LARGE)) and bool(mallopt(MMAP_THRESHOLD, LARGE))
