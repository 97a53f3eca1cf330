"""Put the tables of each speed benchmark in order, with a word on what they show."""

from typing import Any

from _scan_goals import inputs_mb
from _speed_tables import by_thread, errors, goals, kernel, lengths, memory, not_timed, shares, table, times

Results = dict[str, Any]


def scan_parts(results: Results) -> list[str]:
    """Lay out the scan: goals, times, memory, then what was measured of the kernel alone."""
    rows = results["rows"]
    compiled = [row for row in rows if "compile_seconds" in row]
    parts = [
        goals(results),
        "Milliseconds, median of interleaved runs; in brackets how many times ours (channel-last) fits in. Shapes are "
        "batch, channels, length, state. The second order is a loss on a gradient, as a mending step has it.",
        times(rows),
        not_timed(rows),
        "Compiling the loop took "
        + ", ".join(f"{r['compile_seconds']:.0f} s ({r['pass']})" for r in compiled)
        + ", with what torch's cache on disk held already."
        if compiled
        else "",
        "Peak memory of forward + backward beyond the inputs, gradients included, in MB; in brackets in sizes of the "
        "inputs.",
        memory(rows, inputs_mb),
    ]
    if "kernel" in results:
        parts += [
            "### The kernel and the limit of the machine",
            "One thread, channel-last, float32, median thread CPU time. The limit counts 9 multiply-adds for a "
            "vector of states forward (the step times A, five of a polynomial for the exponential, the input, the "
            "state, the output) and 17 backward, at the rate measured in the same run; softplus, gate, loads and "
            "stores are not in it. That is the goal's way of counting. Our exponential takes one less (a table of "
            "roots of two in a register, and a cubic), so of its own multiply-adds the kernel reaches 8/9 and 16/17 of "
            "these fractions. The kernel is timed on memory that is there; the op also allocates its outputs.",
            kernel(results),
        ]
    if "instruction sets" in results:
        parts += ["### Instruction sets, one thread", times(results["instruction sets"])]
        parts += [not_timed(results["instruction sets"])]
    if "threads" in results:
        parts += ["### Threads", by_thread(results["threads"])]
    if "lengths" in results:
        parts += ["### Lengths", "Batch 1, state 16; for one token of all channels.", lengths(results["lengths"])]
    if "errors" in results:
        parts += ["### Errors", "Relative norm against float64.", errors(results["errors"])]
    return parts


def cross_parts(results: Results) -> list[str]:
    rows = results["rows"]
    told = "Milliseconds; in brackets how many times ours fits in. Both ways run the same kernel."
    return [goals(results), told, times(rows)]


def conv_parts(results: Results) -> list[str]:
    rows = results["rows"]
    return [goals(results), "Milliseconds; in brackets how many times ours fits in.", times(rows), not_timed(rows)]


def step_parts(results: Results) -> list[str]:
    """Lay out the ops of one token, and the model."""
    rows = results["model"]
    lines = [
        (
            f"{row['dtype']}, {row['way']}",
            f"{row['median']:.1f} ({row['ratio']:.1f})",
            f"{row['tokens_per_second']:.1f}",
            f"{row['bytes_per_second'] / 1e9:.1f}",
            "-" if row["share_of_bandwidth"] is None else f"{row['share_of_bandwidth']:.0%}",
        )
        for row in rows
        if "median" in row
    ]
    return [
        goals(results),
        "One token of a model of mamba-130m's size on random weights, batch 1: every weight is read once, so the limit "
        "is the memory's bandwidth, which was measured in the same run.",
        table(("", "ms (ratio to ours)", "tokens/s", "GB/s of weights", "of the bandwidth"), lines),
        not_timed(rows),
        "One call of an op, in microseconds; in brackets how many times ours fits in.",
        times([{**row, "median": 1e3 * row["median"]} for row in results["ops"]]),
    ]


def training_parts(results: Results) -> list[str]:
    return [
        goals(results),
        "Milliseconds; in brackets how many of our float32 steps fit in. Only the scan is another: projections, "
        "convolution and norms are ours in every column.",
        times(results["rows"]),
        not_timed(results["rows"]),
        "Where the time of our step goes:",
        shares(results["profiles"]),
    ]


def shared_parts(results: Results) -> list[str]:
    return [
        goals(results),
        "Milliseconds on two threads, by `OMP_WAIT_POLICY`, median over processes; in brackets against the same policy "
        "with every core free. The command line sets `passive`.",
        times(results["rows"]),
    ]
