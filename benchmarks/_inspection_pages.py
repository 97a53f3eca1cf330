"""Put the tables of the benchmark of looking inside in order."""

from collections.abc import Mapping
from typing import Any

from _inspected import OURS, QUANTITIES, WAYS
from _speed_tables import goals, table, times

Row = Mapping[str, Any]


def inspection_parts(results: dict[str, Any]) -> list[str]:
    """Lay out time and memory of each quantity, what was not run, and the models on our kernels."""
    rows = results["rows"]
    lines = [
        (f"{what} ({quantity})", f"{length:,}", *(_cell(_find(rows, quantity, length, way)) for way in WAYS))
        for quantity, what in QUANTITIES.items()
        for length in dict.fromkeys(row["length"] for row in rows)
    ]
    passes = [
        f"{row['in_forward_passes']:.2f} at {row['length']:,} tokens"
        for row in rows
        if row["way"] == OURS and "in_forward_passes" in row
    ]
    tokens = "; ".join(
        dict.fromkeys(f"{row['op']}: {row['length']:,} tokens" for row in results["models"])
    ).capitalize()
    return [
        goals(results),
        "A model of mamba-130m's shape on random weights, batch 1, float32. Seconds, median of three (of one where "
        "it takes over a minute), and what the process grew by at most, in MB; each in a process of its own. Where the "
        "peers are not run, the reason is below.",
        table(("", "tokens", *WAYS), lines),
        _not_run(rows),
        f"The rollout takes, in forward passes of the model on our kernels: {', '.join(passes)}. It runs each block "
        "forward once to reach the next, once more to record its scan, and every other block a third time, because "
        "only every second input is kept.",
        "The same model as transformers runs it, and with `accelerate_model`: milliseconds; in brackets how many "
        f"times ours fits in. {tokens}. Prefill as generation begins, with the logits of the last token.",
        times(results["models"]),
    ]


def _find(rows: list[Row], quantity: str, length: int, way: str) -> Row | None:
    return next((r for r in rows if (r["quantity"], r["length"], r["way"]) == (quantity, length, way)), None)


def _cell(row: Row | None) -> str:
    if row is None or "seconds" not in row:
        return "-"
    return f"{row['seconds']:.2g} s, {max(row['memory_mb'], 0):.0f} MB"


def _not_run(rows: list[Row]) -> str:
    """Say why a way was not run at some lengths."""
    said: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if "not_timed" in row:
            lengths = said.setdefault((row["way"], row["not_timed"]), [])
            lengths.append(f"{row['quantity']} at {row['length']:,}")
    parts = [f"{way} {why} ({', '.join(at)})" for (way, why), at in said.items()]
    return "; ".join(parts) + "." if parts else ""
