"""Lay out what the speed benchmarks found. A part that was not measured gets no table."""

from collections.abc import Iterable, Mapping
from typing import Any

from _goals import judged
from _limits import told as limits_told

Row = Mapping[str, Any]


def goals(results: Row) -> str:
    """Lay out each goal, what was reached, and whether that is enough."""
    rows = ((name, *judged(results, name)) for name in results["goals"])
    return table(("goal", "aimed at", "reached", ""), rows)


def times(rows: list[Row]) -> str:
    """Lay out milliseconds, and in brackets the ratio; one line for each thing that was done, one column a way."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    lines = []
    for key in dict.fromkeys(key_of(row) for row in rows):
        found = {row["way"]: row for row in rows if key_of(row) == key}
        lines.append((*key, *(cell(found.get(way)) for way in ways)))
    return table(("", "pass", *ways), lines)


def key_of(row: Row) -> tuple[str, str]:
    """Name what a row measured, and the pass."""
    named = [numbers(row[field]) for field in ("op", "dtype", "shape") if field in row]
    if isinstance(row.get("sizes"), list) and row["sizes"] != row.get("shape"):
        named[-1] += f": {numbers(row['sizes'])}"
    return ", ".join(named), row.get("pass", "")


def numbers(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(str(part) for part in value)


def cell(row: Row | None) -> str:
    return "-" if row is None or "median" not in row else f"{row['median']:.3g} ({row['ratio']:.1f})"


def not_timed(rows: list[Row]) -> str:
    """Say why a way was not timed somewhere."""
    said: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if "not_timed" in row:
            place = " ".join(filter(None, (key_of(row)[0].partition(":")[0], row.get("pass"))))
            said.setdefault((row["way"], row["not_timed"]), []).append(place)
    if not said:
        return ""
    return "Not timed: " + "; ".join(f"{way}, {why} ({', '.join(at)})" for (way, why), at in said.items()) + "."


def memory(rows: list[Row], size_of: Any) -> str:
    """Lay out the peak memory of forward + backward, beyond the inputs, in MB and in sizes of the inputs."""
    own = [row for row in rows if row["pass"] == "forward + backward" and row.get("memory_mb") is not None]
    ways = list(dict.fromkeys(row["way"] for row in own))
    lines = []
    for shape in dict.fromkeys(row["shape"] for row in own):
        found = {row["way"]: row for row in own if row["shape"] == shape}
        inputs = size_of(next(iter(found.values())))
        shown = (
            f"{row['memory_mb']:.0f} ({row['memory_mb'] / inputs:.1f})" if row else "-" for row in map(found.get, ways)
        )
        lines.append((shape, f"{inputs:.1f}", *shown))
    return table(("", "inputs, MB", *ways), lines)


def kernel(results: Row) -> str:
    """Lay out the kernel on one thread beside the least time of its arithmetic."""
    heads = ("", "pass", "arithmetic limit, ms", "kernel, ms", "fraction", "op with its outputs, ms", "fraction")
    lines = []
    for row in results["kernel"]:
        limit, own, op = (f"{row[name]:.3g}" if name in row else "-" for name in ("limit_ms", "kernel_ms", "op_ms"))
        shares = [f"{row[name]:.0%}" if name in row else "-" for name in ("fraction_kernel", "fraction_op")]
        lines.append((f"{row['shape']}: {numbers(row['sizes'])}", row["pass"], limit, own, shares[0], op, shares[1]))
    return f"Measured in the same run: {limits_told(results['limits'])}.\n\n" + table(heads, lines)


def by_thread(rows: list[Row]) -> str:
    return times([{**row, "way": f"{row['threads']} thread{'s' * (row['threads'] > 1)}"} for row in rows])


def lengths(parts: Mapping[str, list[Row]]) -> str:
    """Lay out time and memory of a token against the length."""
    columns = {}
    for name, rows in parts.items():
        for row in rows:
            column = f"{row['sizes'][1]} channels, {row['pass']}"
            columns.setdefault(f"{column}, ns", {})[row["sizes"][2]] = f"{row['ns_per_token']:.0f}"
            if name == "wide" and row["bytes_per_token"] is not None:
                columns.setdefault(f"{column}, bytes", {})[row["sizes"][2]] = f"{row['bytes_per_token']:.0f}"
    every = sorted({length for column in columns.values() for length in column})
    lines = ((f"{length:,}", *(column.get(length, "-") for column in columns.values())) for length in every)
    return table(("length", *columns), lines)


def errors(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Lay out relative norms against float64."""
    names = list(next(iter(next(iter(found.values())).values())))
    lines = (
        (f"{shape}, {way}", *(f"{own[name]:.1e}" for name in names))
        for shape, ways in found.items()
        for way, own in ways.items()
    )
    return table(("", *names), lines)


def shares(profiles: Mapping[str, Mapping[str, float]]) -> str:
    """List where the time goes."""
    lines = []
    for name, found in profiles.items():
        lines.append(f"- {name}: " + ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in found.items()))
    return "\n".join(lines)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
