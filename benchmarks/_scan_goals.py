"""The goals of the scan, and what a run says of them."""

from typing import Any

from _lengths import spread
from _scans import BOTH, FORWARD, LOOP, OURS, SECOND

GOALS = {
    "forward against the plain loop, a": 50.0,
    "forward against the plain loop, b": 100.0,
    "forward against the plain loop, c": 50.0,
    "forward + backward against the plain loop, a": 40.0,
    "forward + backward against the plain loop, b": 55.0,
    "forward + backward against the plain loop, c": 30.0,
    "forward against the plain loop, N 1": 10.0,
    "forward + backward against the plain loop, N 1": 8.0,
    "forward against mambapy, least of a, b, c": 90.0,
    "forward + backward against mambapy, least of a, b, c": 60.0,
    "fraction of the arithmetic limit, forward, least of a, b, c": 0.5,
    "fraction of the arithmetic limit, backward, least of a, b, c": 0.45,
    "Triton on an H100, forward, share of the memory bandwidth": 0.6,
    "Triton on an H100, longest sequence that is right": 65536,
    "time with AVX2 over AVX-512, forward": 1.8,
    "time with AVX2 over AVX-512, forward + backward": 1.8,
    "extra memory over inputs, most of a, b, c, d": 2.0,
    "dearest over cheapest token, 1,024 to 65,536": 1.5,
    "error of y": 1e-6,
    "error of the worst gradient": 1e-5,
    "second-order steps in first-order ones, a": 5.0,
}
AT_MOST = list(GOALS)[list(GOALS).index("time with AVX2 over AVX-512, forward") :]


MAIN = ("a", "b", "c")  # the shapes that goals speak of when they name none


def reached(results: dict[str, Any]) -> dict[str, float]:
    """Sum a run up against the goals, as far as its parts were measured."""
    found = of_rows(results.get("rows", []))
    fractions = [row for row in results.get("kernel", []) if row["shape"] in MAIN and "limit_ms" in row]
    for what in (FORWARD, "backward"):
        if own := [row["fraction_kernel"] for row in fractions if row["pass"] == what]:
            found[f"fraction of the arithmetic limit, {what}, least of a, b, c"] = min(own)
    for row in results.get("instruction sets", []):
        if row["way"] == "avx2" and "median" in row and results["machine"]["instruction_set"] == "avx512":
            found[f"time with AVX2 over AVX-512, {row['pass']}"] = row["ratio"]
    shares = memory_shares(results)
    if {*MAIN, "d"} <= shares.keys():
        found["extra memory over inputs, most of a, b, c, d"] = max(shares[shape] for shape in (*MAIN, "d"))
    if lengths := results.get("lengths"):
        found["dearest over cheapest token, 1,024 to 65,536"] = spread(lengths["wide"])
    if own := [ways[OURS] for ways in results.get("errors", {}).values()]:
        found["error of y"] = max(errors["y"] for errors in own)
        found["error of the worst gradient"] = max(max(errors.values()) for errors in own)
    return {name: found[name] for name in GOALS if name in found}


def of_rows(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Compare ours with the peers, by ratios of the same rounds."""
    by_key = {(row["shape"], row["pass"], row["way"]): row for row in rows if "median" in row}
    found = {}
    for what in (FORWARD, BOTH):
        for shape, name in (*((shape, shape) for shape in MAIN), ("e, N=1", "N 1")):
            if row := by_key.get((shape, what, LOOP)):
                found[f"{what} against the plain loop, {name}"] = row["ratio"]
        if all((shape, what, "mambapy") in by_key for shape in MAIN):
            least = min(by_key[shape, what, "mambapy"]["ratio"] for shape in MAIN)
            found[f"{what} against mambapy, least of a, b, c"] = least
    if ("a", SECOND, OURS) in by_key:
        found["second-order steps in first-order ones, a"] = (
            by_key["a", SECOND, OURS]["median"] / by_key["a", BOTH, OURS]["median"]
        )
    return found


def memory_shares(results: dict[str, Any]) -> dict[str, float]:
    """Give the extra memory of forward + backward in sizes of the inputs; d is one of the lengths too."""
    own = [row for row in results.get("rows", []) if row["way"] == OURS]
    own += [row | {"shape": "d"} for row in results.get("lengths", {}).get("wide", []) if row["sizes"][2] == 65536]
    own = [row for row in own if row["pass"] == BOTH and row.get("memory_mb") is not None]
    return {row["shape"]: row["memory_mb"] / inputs_mb(row) for row in own}


def inputs_mb(row: dict[str, Any]) -> float:
    """Give the size of u, delta, z, B, C, A, D and the bias, in MB of float32."""
    batch, channels, length, state = row["sizes"]
    return 4 * (batch * length * (3 * channels + 2 * state) + channels * (state + 2)) / 2**20
