"""How fast is the scan, and how much memory does it take, beside what else there is on a CPU?

Against a plain torch loop whose backward is linear in the length (the one to beat), transformers' loop, and
mambapy's parallel scan; float32, all inputs, forward, with backward, and to second order. Nothing is timed before
every way has agreed with the reference. Goals at shape a, two threads: 25 times the plain loop forward, 15 times with
backward; a second-order step in at most 5 times a plain one.

    python benchmarks/scan.py --quick
    python benchmarks/scan.py
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from _scans import WAYS, draw, why_not
from _timing import Timing, in_own_process, interleave, machine, peak_memory, write_json

from mamba_mender.ops import cpu, selective_scan

SHAPES = {  # batch, channels, length, state
    "a": (8, 384, 197, 16),
    "b": (1, 1536, 2048, 16),
    "c": (64, 128, 65, 16),
    "d": (1, 256, 65536, 16),
    "e, N=1": (8, 384, 197, 1),
    "e, N=4": (8, 384, 197, 4),
    "small": (2, 96, 65, 16),
}
PASSES = ("forward", "forward + backward", "second order")
GOALS = {"forward": 25.0, "forward + backward": 15.0, "second order": 5.0}
OURS, LOOP = "ours, channel-last", "plain loop"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small shape, a few rounds: does it run at all")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=[name for name in SHAPES if name != "small"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0, help="for one table of a shape and a pass")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "scan.json")
    parser.add_argument("--memory", nargs=3, metavar=("SHAPE", "WAY", "PASS"), help="print the peak memory of one call")
    args = parser.parse_args()
    args.threads = 1 if args.quick else args.threads  # a busy machine makes spinning threads very slow
    torch.set_num_threads(args.threads)
    if args.memory:
        shape, way, what = args.memory
        print(memory_of(way, SHAPES[shape], what))
        return
    if args.quick:
        args.shapes, args.seconds, args.out = ["small"], 0.3, Path("runs/benchmarks/scan-quick.json")
    place = machine("transformers", "mambapy") | {"instruction_set": cpu.instruction_set()}
    print(f"{place['processor']}, {args.threads} threads, {place['instruction_set']}, load {place['load']:.1f} before")
    rows = [row for shape in args.shapes for what in PASSES for row in compare(shape, what, args)]
    results = {"machine": place, "dtype": "float32", "goals": GOALS, "reached": reached(rows), "rows": rows}
    write_json(args.out, results)
    print("\nreached: " + ", ".join(f"{what} {ratio:.1f}" for what, ratio in results["reached"].items()))
    print(f"written: {args.out}")


def call_of(way: str, sizes: tuple[int, int, int, int], what: str):
    """Make inputs, and the call that is timed."""
    scan, layout, *_ = WAYS[way]
    inputs = draw(sizes, layout)
    leaves = list(inputs.values())
    weight = torch.randn_like(inputs["u"])

    def forward():
        with torch.no_grad():
            return scan(**inputs)

    def backward():
        return torch.autograd.grad(scan(**inputs), leaves, weight)

    def second():  # as a mending step does: a loss on the gradient of a state, to every input
        (gradient,) = torch.autograd.grad(scan(**inputs), inputs["u"], weight, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), leaves, allow_unused=True)

    return {"forward": forward, "forward + backward": backward, "second order": second}[what]


def compare(shape: str, what: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time every way that can be, print the table, and return its rows."""
    sizes = SHAPES[shape]
    reasons = {way: why_not(way, sizes, what) for way in WAYS}
    if what == "second order" and sizes[2] > 10_000:
        return []
    assert_agree(sizes, what, [way for way, reason in reasons.items() if reason is None])
    calls = {way: call_of(way, sizes, what) for way, reason in reasons.items() if reason is None}
    least, most = (3, 3) if args.quick else (5, 15)
    timings = interleave(calls, seconds=args.seconds, least=least, most=most)
    print(f"\n{shape}: batch {sizes[0]}, channels {sizes[1]}, length {sizes[2]}, state {sizes[3]}; {what}")
    rows = []
    for way, reason in reasons.items():
        row: dict[str, Any] = {"shape": shape, "sizes": sizes, "pass": what, "way": way}
        if reason:
            row["not_timed"] = reason
        else:
            row |= asdict(timings[way]) | {"memory_mb": None}
            if not args.quick or (way, what) == (OURS, PASSES[1]):
                printed = in_own_process("--threads", str(args.threads), "--memory", shape, way, what)
                row["memory_mb"] = float(printed) if printed else None
        rows.append(row)
        print(line(way, reason, timings.get(way), row))
    return rows


def line(way: str, reason: str | None, timing: Timing | None, row: dict[str, Any]) -> str:
    if timing is None:
        return f"  {way:20} {reason}"
    spread = f"{timing.median:9.2f} ms ({timing.low:.2f} to {timing.high:.2f}, {timing.rounds} rounds)"
    memory = "" if row["memory_mb"] is None else f"{row['memory_mb']:7.0f} MB"
    return f"  {way:20} {spread:50} {timing.ratio:7.1f} x {memory}"


def assert_agree(sizes: tuple[int, int, int, int], what: str, ways: list[str]) -> None:
    """Compare every way with the reference, in float64 on a smaller problem, and refuse to go on if one differs."""
    batch, channels, length, state = sizes
    small = (min(batch, 2), min(channels, 35), min(length, 70), state)
    order = PASSES.index(what)
    expected = derivatives(reference, draw(small, "channel-first", torch.float64), order)
    for way in ways:
        scan, layout, *_ = WAYS[way]
        dtype, bound = (torch.float64, 1e-10) if scan is not WAYS["transformers"][0] else (torch.float32, 1e-4)
        found = derivatives(scan, draw(small, layout, dtype), order)
        for mine, right in zip(found, expected, strict=True):
            error = ((mine.double() - right).norm() / (right.norm() + 1e-30)).item()
            if not error < bound:
                raise SystemExit(f"{way}: differs from the reference by {error:.1e} in its {what}; nothing is timed")


def reference(u, delta, A, B, C, D, z, delta_bias):
    return selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus=True, backend="reference")


def derivatives(scan, inputs: dict[str, torch.Tensor], order: int) -> list[torch.Tensor]:
    leaves, found = list(inputs.values()), [scan(**inputs)]
    weight = torch.cos(torch.arange(found[0].numel(), dtype=found[0].dtype)).view_as(found[0])
    if order >= 1:
        found += torch.autograd.grad(found[0], leaves, weight, create_graph=order == 2)
    if order == 2:
        found += torch.autograd.grad(found[1].square().sum(), leaves, materialize_grads=True, allow_unused=True)
    return [tensor.detach() for tensor in found]


def memory_of(way: str, sizes: tuple[int, int, int, int], what: str) -> float:
    call_of(way, (1, 16, 2, sizes[3]), what)()  # what is loaded at the first call is not the call's
    return peak_memory(call_of(way, sizes, what))


def reached(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Sum up against the goals: the plain loop's time in ours; a second-order step in first-order ones."""
    first = rows[0]["shape"]
    found = {(row["pass"], row["way"]): row for row in rows if row["shape"] == first and "median" in row}
    ratios = {what: found[what, LOOP]["ratio"] for what in PASSES[:2]}
    step, plain = found["second order", OURS]["median"], found["forward + backward", OURS]["median"]
    return ratios | {"second order": step / plain}


if __name__ == "__main__":
    main()
