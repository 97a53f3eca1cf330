"""Time several ways to do one thing, in turn, so that what disturbs one disturbs all; and say where it was."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mamba_mender import __version__

SHORTEST = 0.02  # seconds that one measurement lasts at least: a short call is repeated in it
LONG = 1.0  # seconds from which a call is its own warm-up


@dataclass(frozen=True)
class Timing:
    """How long a call takes, in milliseconds: median, quartiles, and how many measurements there are."""

    median: float
    low: float
    high: float
    rounds: int
    ratio: float  # to the first call timed with it: the median over rounds


def interleave(calls: Mapping[str, Callable[[], Any]], *, seconds: float, least: int = 5, most: int = 15):
    """Measure each call once a round, for so many rounds as fit into the seconds, within bounds.

    Whatever comes after a heavy call finds cold caches and an allocator in disorder: its first call took up to
    twice as long. So each call is made once before it is measured, and every round begins with another one.
    """
    names = list(calls)
    once = {name: measure(call, 1) for name, call in calls.items()}
    repeats = {name: max(1, int(SHORTEST / (taken + 1e-9))) for name, taken in once.items()}
    a_round = sum(max(once[name], SHORTEST) + once[name] * (once[name] < LONG) for name in calls)
    rounds = max(least, min(most, int(seconds / a_round)))
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            if once[name] < LONG:
                calls[name]()
            taken[name].append(measure(calls[name], repeats[name]))
    return {name: timing_of(values, taken[names[0]]) for name, values in taken.items()}


def measure(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of one call, averaged over so many in a row."""
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - began) / repeats


def timing_of(taken: list[float], first: list[float]) -> Timing:
    low, median, high = statistics.quantiles(taken, n=4, method="inclusive")
    ratio = statistics.median(mine / theirs for mine, theirs in zip(taken, first, strict=True))
    return Timing(median * 1e3, low * 1e3, high * 1e3, len(taken), ratio)


def peak_memory(call: Callable[[], Any]) -> float:
    """Megabytes by which the process grows, at most, during a call. Run it in a process of its own."""
    clear, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not status.exists():
        raise SystemExit("peak memory is read from /proc, which this system does not have")
    clear.write_text("5")  # forget the peak so far

    def in_mb(field: str) -> float:
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024

    before = in_mb("VmRSS")
    call()
    return in_mb("VmHWM") - before


def in_own_process(*arguments: str) -> str | None:
    """Run the calling script again with other arguments, and return the last line that it prints."""
    done = subprocess.run([sys.executable, sys.argv[0], *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines()[-1] if done.returncode == 0 and done.stdout.strip() else None


def machine(*packages: str) -> dict[str, Any]:
    """Name the processor, the threads and the versions that figures depend on."""
    found = [name for name in ("torch", *packages) if importlib.util.find_spec(name)]
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,  # of others, before the first measurement
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"mamba_mender": __version__} | {name: importlib.metadata.version(name) for name in found},
    }


def processor() -> str:
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return platform.processor() or platform.machine()
    known = dict(line.split(":", 1) for line in facts.read_text().splitlines() if ":" in line)
    known = {name.strip(): value.strip() for name, value in known.items()}
    numbers = (f"{word} {known[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in known)
    return f"{known.get('model name', platform.machine())} ({', '.join(numbers)})"


def write_json(path: Path, results: Mapping[str, Any]) -> None:
    """Write results whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(unfinished, path)
