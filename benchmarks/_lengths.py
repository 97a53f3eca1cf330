"""Time and memory per token against the length, at batch 1."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from _scans import BOTH, FORWARD, OURS, Sizes, call_of
from _timing import interleave

FLAT = (1024, 65536)  # the lengths between which the cost of a token is to stay the same


def by_length(
    channels: int,
    lengths: list[int],
    memory: Callable[[Sizes, str], float | None] | None,
    *,
    state: int = 16,
    seconds: float,
    least: int,
) -> list[dict[str, Any]]:
    """Measure ours at each length; `memory` gives the peak in MB of one call, or is left out."""
    rows = []
    for length in lengths:
        sizes = (1, channels, length, state)
        for what in (FORWARD, BOTH):
            timing = interleave({OURS: call_of(OURS, sizes, what)}, seconds=seconds, least=least)[OURS]
            row: dict[str, Any] = {"shape": f"{channels} channels", "sizes": sizes, "pass": what, "way": OURS}
            row |= asdict(timing) | {"memory_mb": memory(sizes, what) if memory else None}
            row["ns_per_token"] = 1e6 * timing.median / length
            row["bytes_per_token"] = None if row["memory_mb"] is None else row["memory_mb"] * 2**20 / length
            rows.append(row)
            space = "" if row["bytes_per_token"] is None else f", {row['bytes_per_token']:.0f} bytes a token"
            print(f"  {channels:4} channels, length {length:6} {what:20} {row['ns_per_token']:.0f} ns a token{space}")
    return rows


def spread(rows: list[dict[str, Any]]) -> float:
    """Divide the dearest token by the cheapest, forward + backward, over the lengths that are to cost the same."""
    costs = [row["ns_per_token"] for row in rows if row["pass"] == BOTH and FLAT[0] <= row["sizes"][2] <= FLAT[1]]
    return max(costs) / min(costs)
