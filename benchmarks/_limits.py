"""Measure what the processor can do at most, so that a kernel's time can be given as a fraction of it.

python benchmarks/_limits.py            # compiles limits.cpp with $CXX, or c++, into a temporary folder
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

SOURCE = Path(__file__).with_name("limits.cpp")
FLAGS = [
    "-O3",
    "-march=native",
    "-std=c++17",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-Wno-psabi",
]
FORWARD, BACKWARD = 9, 17  # multiply-add operations for a vector of states: see docs/benchmarks.md
BEST_OF = 5


def measure_limits(threads: int, *, seconds: float = 0.2, megabytes: int = 256) -> dict[str, Any]:
    """Measure one thread alone and all at once; without a compiler say so, and why.

    Each thread runs on memory of its own. Rates are per second of processor time, the best of several
    measurements, and those of all threads are summed.
    """
    try:
        library = build()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        print(f"\nLIMITS NOT MEASURED, so no fraction of them is given: {reason.strip()}\n", flush=True)
        return {"not_measured": reason.strip()}
    found: dict[str, Any] = {"vector_bytes": library.vector_bytes()}
    for count in sorted({1, threads}):
        found[f"{count} thread{'s' * (count > 1)}"] = rates(library, count, seconds, megabytes)
    return found


def build() -> ctypes.CDLL:
    """Compile limits.cpp for this very processor, and load it."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise FileNotFoundError("no C++ compiler; install one, or name one in CXX")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "limits.so"
        command = [*compiler.split(), *FLAGS, "-shared", "-fPIC", str(SOURCE), "-o", str(target)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        library = ctypes.CDLL(str(target))  # stays loaded when the folder goes
    for name in ("multiply_adds", "exponentials", "read_bytes", "copied_bytes"):
        getattr(library, name).restype = ctypes.c_double
    return library


def rates(library: ctypes.CDLL, threads: int, seconds: float, megabytes: int) -> dict[str, float]:
    """Measure every limit with so many threads at once."""
    count = megabytes * 2**20 // 4
    memories = [torch.ones(count) for _ in range(threads)]  # written, so that its pages are there
    span = ctypes.c_double(seconds / BEST_OF)

    def on_memory(function: Callable[..., float]) -> Callable[[int], float]:
        return lambda i: function(span, ctypes.c_void_p(memories[i].data_ptr()), ctypes.c_int64(count))

    calls: dict[str, Callable[[int], float]] = {
        "multiply_adds": lambda i: library.multiply_adds(span),
        "exponentials": lambda i: library.exponentials(span),
        "bytes_read": on_memory(library.read_bytes),
        "bytes_copied": on_memory(library.copied_bytes),
    }
    with ThreadPoolExecutor(threads) as pool:  # ctypes lets go of the interpreter while it calls
        return {name: max(sum(pool.map(call, range(threads))) for _ in range(BEST_OF)) for name, call in calls.items()}


def arithmetic_limit_ms(sizes: tuple[int, int, int, int], operations: int, limits: dict[str, Any]) -> float:
    """Give the least time, in ms, in which one thread can do a scan's multiply-adds at all."""
    batch, channels, length, state = sizes
    vectors = batch * channels * length * state / (limits["vector_bytes"] / 4)
    return 1e3 * vectors * operations / limits["1 thread"]["multiply_adds"]


def told(limits: dict[str, Any]) -> str:
    """Put the limits into words."""
    if "not_measured" in limits:
        return f"not measured: {limits['not_measured']}"
    lines = []
    for name, found in limits.items():
        if isinstance(found, dict):
            gflops = 2 * found["multiply_adds"] * limits["vector_bytes"] / 4 / 1e9
            lines.append(
                f"{name}: {found['multiply_adds'] / 1e9:.2f} G vector multiply-adds/s ({gflops:.0f} GFLOP/s), "
                f"{found['exponentials'] / 1e9:.1f} G exp/s, reads {found['bytes_read'] / 1e9:.1f} GB/s, "
                f"copies {found['bytes_copied'] / 1e9:.1f} GB/s (read and written)"
            )
    return f"vectors of {8 * limits['vector_bytes']} bits; " + "; ".join(lines)


if __name__ == "__main__":
    print(told(measure_limits(torch.get_num_threads(), seconds=1.0)))
