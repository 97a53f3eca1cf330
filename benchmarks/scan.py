"""How fast is the scan, how near the limit of the machine, and how much memory does it take?

Beside a plain torch loop whose backward is linear in the length (the one to beat), transformers' loop, mambapy's
parallel scan, mamba_ssm's reference and torch.compile of the loop; forward, with backward, and to second order.
Nothing is timed before every way has agreed with the reference. Then: the limits of the processor, measured in the
same run, and the kernel as a fraction of them; instruction sets; threads; lengths; errors. The goals are in GOALS.

    python benchmarks/scan.py --quick
    python benchmarks/scan.py                                  # all of it, about 35 minutes
    python benchmarks/scan.py --parts limits kernel --out runs/benchmarks/kernel.json
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from _agree import errors_at
from _compare import compare, memory_apart, memory_of
from _goals import told
from _kernel import against_limit, by_instruction_set, by_threads
from _lengths import by_length
from _limits import measure_limits
from _limits import told as limits_told
from _scan_goals import AT_MOST, GOALS, reached
from _scans import OURS, PASSES, Sizes
from _timing import machine, write_json

from mamba_mender.ops import cpu

SHAPES: dict[str, Sizes] = {
    "a": (8, 384, 197, 16),
    "b": (1, 1536, 2048, 16),
    "c": (64, 128, 65, 16),
    "d": (1, 256, 65536, 16),
    "e, N=1": (8, 384, 197, 1),
    "e, N=4": (8, 384, 197, 4),
    "small": (2, 96, 65, 16),
}
CACHED: Sizes = (1, 128, 192, 16)  # fits into the second-level cache
LENGTHS = [2**k for k in range(10, 18)]  # 1,024 to 131,072
PARTS = ("limits", "kernel", "instruction sets", "threads", "lengths", "errors", "rows")


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    if args.memory:
        sizes, way, what = args.memory
        print(memory_of(tuple(int(size) for size in sizes.split(",")), way, what))
        return
    began = time.monotonic()
    place = machine("transformers", "mambapy", "mamba_ssm") | {"instruction_set": cpu.instruction_set()}
    print(f"{place['processor']}, {args.threads} threads, {place['instruction_set']}, load {place['load']:.1f} before")
    results: dict[str, Any] = {"machine": place, "dtype": "float32", "goals": GOALS, "at_most": AT_MOST, "reached": {}}
    for part in PARTS:
        if part in args.parts:
            print(f"\n== {part}, after {time.monotonic() - began:.0f} s", flush=True)
            results[part] = MEASURES[part](args, results)
    results["reached"] = reached(results)
    write_json(args.out, results)
    print("", *told(results, only_measured=args.quick or len(args.parts) < len(PARTS)), sep="\n")
    print(f"written: {args.out}, {time.monotonic() - began:.0f} s")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small shape, a few rounds: does it run at all")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=[name for name in SHAPES if name != "small"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0, help="for one table of a shape and a pass")
    how = argparse.BooleanOptionalAction
    parser.add_argument(
        "--compile", action=how, default=True, help="also torch.compile of the loop at shape c; a minute"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "scan.json")
    parser.add_argument("--memory", nargs=3, metavar=("SIZES", "WAY", "PASS"), help="print the peak memory of one call")
    args = parser.parse_args()
    if args.quick:  # one thread: a busy machine makes spinning threads very slow
        args.threads, args.shapes, args.seconds, args.out = 1, ["small"], 0.1, Path("runs/benchmarks/scan-quick.json")
        args.compile = False
    args.least, args.most = (3, 3) if args.quick else (5, 15)
    return args


def rows(args: argparse.Namespace, _: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for shape in args.shapes for what in PASSES for row in compare(shape, SHAPES[shape], what, args)]


def limits(args: argparse.Namespace, _: dict[str, Any]) -> dict[str, Any]:
    quick = {"seconds": 0.02, "megabytes": 64} if args.quick else {}
    found = measure_limits(args.threads, **quick)
    print(f"  {limits_told(found)}")
    return found


def kernel(args: argparse.Namespace, results: dict[str, Any]) -> list[dict[str, Any]]:
    shapes = {name: SHAPES[name] for name in args.shapes} | {"cached": CACHED}
    known = results.get("limits", {"not_measured": "the limits are not among the parts of this run"})
    return against_limit(shapes, known, rounds=3 if args.quick else 25)


def instruction_sets(args: argparse.Namespace, _: dict[str, Any]) -> list[dict[str, Any]]:
    shape = args.shapes[0]
    return by_instruction_set(shape, SHAPES[shape], seconds=args.seconds / 3, least=args.least)


def threads(args: argparse.Namespace, _: dict[str, Any]) -> list[dict[str, Any]]:
    shapes = {name: SHAPES[name] for name in args.shapes if name in ("a", "b", "c", "small")}
    return by_threads(shapes, args.threads, seconds=args.seconds / 3, least=args.least)


def lengths(args: argparse.Namespace, _: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """At 256 channels, and at 16, where the batch and the channels alone cannot fill two cores."""

    def memory(sizes: Sizes, what: str) -> float:
        return memory_apart(sizes, OURS, what, args.threads)

    how = {"seconds": args.seconds / 3, "least": args.least}
    many = LENGTHS[:2] if args.quick else LENGTHS
    return {
        "wide": by_length(256, many, None if args.quick else memory, **how),
        "narrow": by_length(16, many, None, **how),
    }


def errors(args: argparse.Namespace, _: dict[str, Any]) -> dict[str, Any]:
    return errors_at({name: SHAPES[name] for name in args.shapes if name in ("a", "c", "small")})


MEASURES = {
    "rows": rows,
    "limits": limits,
    "kernel": kernel,
    "instruction sets": instruction_sets,
    "threads": threads,
    "lengths": lengths,
    "errors": errors,
}

if __name__ == "__main__":
    main()
