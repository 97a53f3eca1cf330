"""What does the scan of a grid in four directions cost, beside one that reorders memory for each direction?

Ours goes through the positions in another order; the other way copies u four times as VMamba's cross-scan does, turns
B, C and the step sizes, scans all copies with the same kernel, and turns the outputs back for the sum. Shapes are those
of VMamba-T's stages at 224 x 224. Nothing is timed before both agree.

    python benchmarks/cross_scan.py --quick
    python benchmarks/cross_scan.py
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from _goals import told
from _timing import interleave, machine, write_json
from torch import Tensor

from mamba_mender.ops import cross_selective_scan, selective_scan

SHAPES = {  # batch, channels of one direction, rows, columns, state
    "stage 1": (4, 192, 56, 56, 1),
    "stage 3": (4, 768, 14, 14, 1),
    "stage 3, state 16": (4, 768, 14, 14, 16),
    "small": (2, 32, 7, 5, 4),
}
FORWARD, BOTH = "forward", "forward + backward"
OURS, MOVED = "ours", "reordered in memory"
GOALS = {f"reordered in memory, in ours, {what}, least": 1.0 for what in (FORWARD, BOTH)}  # it pays nothing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small shape, a few rounds: does it run at all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6.0, help="for one shape and pass")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cross_scan.json")
    args = parser.parse_args()
    shapes = {name: shape for name, shape in SHAPES.items() if (name == "small") == args.quick}
    if args.quick:
        args.threads, args.seconds, args.out = 1, 0.2, Path("runs/benchmarks/cross_scan-quick.json")
    torch.set_num_threads(args.threads)
    place = machine()
    print(f"{place['processor']}, {args.threads} threads, load {place['load']:.1f} before")
    rows = [
        row for name, shape in shapes.items() for what in (FORWARD, BOTH) for row in compare(name, shape, what, args)
    ]
    reached = {
        f"reordered in memory, in ours, {what}, least": min(
            row["ratio"] for row in rows if row["pass"] == what and row["way"] == MOVED
        )
        for what in (FORWARD, BOTH)
    }
    results = {"machine": place, "goals": GOALS, "reached": reached, "rows": rows}
    write_json(args.out, results)
    print("", *told(results), f"written: {args.out}", sep="\n")


def compare(
    name: str, shape: tuple[int, int, int, int, int], what: str, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Time both ways at one shape."""
    inputs, grid = draw(shape), shape[2:4]
    ways = {OURS: ours, MOVED: reordered}
    found = {way: scan(inputs, grid) for way, scan in ways.items()}
    error = ((found[OURS] - found[MOVED]).norm() / found[OURS].norm()).item()
    if not error < 1e-5:
        raise SystemExit(f"{name}: the two ways differ by {error:.1e}; nothing is timed")
    weight = torch.randn_like(found[OURS].detach())

    def call(scan):
        def forward():
            with torch.no_grad():
                return scan(inputs, grid)

        def both():
            return torch.autograd.grad(scan(inputs, grid), list(inputs.values()), weight)

        return forward if what == FORWARD else both

    timings = interleave({way: call(scan) for way, scan in ways.items()}, seconds=args.seconds, least=3)
    rows = [{"shape": name, "sizes": shape, "pass": what, "way": way} | asdict(t) for way, t in timings.items()]
    for row in rows:
        print(f"  {name:18} {what:19} {row['way']:20} {row['median']:8.2f} ms  {row['ratio']:5.2f} x")
    return rows


def draw(shape: tuple[int, int, int, int, int]) -> dict[str, Tensor]:
    """Draw inputs in channel-last memory, with gradients wanted."""
    batch, channels, rows, columns, state = shape
    length, random = rows * columns, torch.Generator().manual_seed(0)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=random)

    inputs = {
        "u": normal(batch, length, channels).mT,
        "delta": 0.5 * normal(batch, length, 4 * channels).mT,
        "A": -torch.arange(1.0, state + 1).repeat(4 * channels, 1),
        "B": normal(batch, 4, length, state).mT,
        "C": normal(batch, 4, length, state).mT,
        "D": normal(4 * channels),
        "delta_bias": normal(4 * channels) - 4,
    }
    return {name: tensor.requires_grad_() for name, tensor in inputs.items()}


def ours(inputs: dict[str, Tensor], grid: tuple[int, int]) -> Tensor:
    return cross_selective_scan(**inputs, delta_softplus=True, grid=grid, backend="cpu")[0]


def reordered(inputs: dict[str, Tensor], grid: tuple[int, int]) -> Tensor:
    """Cross-scan, scan, cross-merge, as VMamba's code does; sequences reach it in image order."""
    u, delta, B, C = (inputs[name] for name in ("u", "delta", "B", "C"))
    batch, channels, length = u.shape
    delta = delta.reshape(batch, 4, channels, length)
    copies = turned(u[:, None].expand(-1, 4, -1, -1), grid).reshape(batch, 4 * channels, length)
    y = selective_scan(
        copies,
        turned(delta, grid).reshape(batch, 4 * channels, length),
        inputs["A"],
        turned(B, grid),
        turned(C, grid),
        inputs["D"],
        delta_bias=inputs["delta_bias"],
        delta_softplus=True,
        backend="cpu",
    ).reshape(batch, 4, channels, length)
    back = y[:, :2] + y[:, 2:].flip(-1)
    columns = back[:, 1].reshape(batch, channels, grid[1], grid[0]).mT.reshape(batch, channels, length)
    return back[:, 0] + columns


def turned(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring (batch, 4, any, length) from image order to the order of each direction."""
    by_column = x[:, 1::2].unflatten(-1, grid).mT.flatten(-2)
    by_row = x[:, 0::2]
    return torch.stack([by_row[:, 0], by_column[:, 0], by_row[:, 1].flip(-1), by_column[:, 1].flip(-1)], dim=1)


if __name__ == "__main__":
    main()
