"""How fast is the short convolution with its SiLU, beside torch's?

Against F.conv1d and F.silu on channel-first and on channel-last input, and a sum of shifted inputs; forward, and with
backward. Ours and each peer get the layout that is named. Nothing is timed before every way has agreed with float64.

    python benchmarks/conv.py --quick
    python benchmarks/conv.py
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from _goals import told
from _timing import in_own_process, interleave, machine, peak_memory, write_json
from torch import Tensor

from mamba_mender.ops import causal_conv1d, cpu

Conv = Callable[[Tensor, Tensor, Tensor], Tensor]
SHAPES = {"a": (8, 384, 197), "b": (1, 1536, 2048), "c": (64, 384, 64), "small": (2, 96, 65)}  # batch, channels, length
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BOUNDS = {"float32": 1e-5, "bfloat16": 3e-2}  # relative norm
FORWARD, BOTH = "forward", "forward + backward"
GOALS = {FORWARD: 4.0, BOTH: 4.0}  # times F.conv1d + F.silu in the same layout, at the worst shape, float32
TAPS = 4


def kernel(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return causal_conv1d(x, weight, bias, "silu", backend="cpu")


def torch_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.silu(F.conv1d(x, weight[:, None], bias, padding=TAPS - 1, groups=x.shape[1])[..., : x.shape[2]])


def shifted_sum(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    padded = F.pad(x, (TAPS - 1, 0))
    terms = (padded[..., k : k + x.shape[2]] * weight[:, k, None] for k in range(TAPS))
    return F.silu(sum(terms, start=bias[:, None]))


WAYS: dict[str, tuple[Conv, str]] = {
    "ours, channel-last": (kernel, "last"),
    "ours, channel-first": (kernel, "first"),
    "F.conv1d, channel-last": (torch_conv, "last"),
    "F.conv1d, channel-first": (torch_conv, "first"),
    "shifted sum, channel-first": (shifted_sum, "first"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small shape, a few rounds: does it run at all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="for one table")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "conv.json")
    parser.add_argument("--memory", nargs=4, metavar=("SHAPE", "DTYPE", "WAY", "PASS"), help="print one call's peak")
    args = parser.parse_args()
    args.threads = 1 if args.quick else args.threads  # a busy machine makes spinning threads very slow
    torch.set_num_threads(args.threads)
    if args.memory:
        shape, dtype, way, what = args.memory
        call_of(way, (1, 16, 8), dtype, what)()  # what is loaded at the first call is not the call's
        print(peak_memory(call_of(way, SHAPES[shape], dtype, what)))
        return
    shapes = ["small"] if args.quick else ["a", "b", "c"]
    if args.quick:
        args.seconds, args.out = 0.3, Path("runs/benchmarks/conv-quick.json")
    place = machine() | {"instruction_set": cpu.instruction_set()}
    print(f"{place['processor']}, {args.threads} threads, {place['instruction_set']}, load {place['load']:.1f} before")
    rows = [
        row
        for shape in shapes
        for dtype in DTYPES
        for what in (FORWARD, BOTH)
        for row in compare(shape, dtype, what, args)
    ]
    reached = {what: worst_ratio(rows, what) for what in GOALS}
    results = {"machine": place, "goals": GOALS, "reached": reached, "rows": rows}
    write_json(args.out, results)
    print("", *told(results), f"written: {args.out}", sep="\n")


def draw(sizes: tuple[int, int, int], dtype: torch.dtype, layout: str) -> list[Tensor]:
    """Draw x, weight, bias and the gradient that comes in."""
    batch, channels, length = sizes
    random = torch.Generator().manual_seed(0)
    shapes = ((*sizes,), (channels, TAPS), (channels,), (batch, channels, length))
    found = [torch.randn(shape, generator=random).to(dtype) for shape in shapes]
    if layout == "last":
        found[0], found[3] = (tensor.mT.contiguous().mT for tensor in (found[0], found[3]))
    return [*(tensor.requires_grad_() for tensor in found[:3]), found[3]]


def call_of(way: str, sizes: tuple[int, int, int], dtype: str, what: str) -> Callable[[], Any]:
    conv, layout = WAYS[way]
    *leaves, grad = draw(sizes, DTYPES[dtype], layout)

    def forward() -> Tensor:
        with torch.no_grad():
            return conv(*leaves)

    def both() -> tuple[Tensor, ...]:
        return torch.autograd.grad(conv(*leaves), leaves, grad)

    return {FORWARD: forward, BOTH: both}[what]


def compare(shape: str, dtype: str, what: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time every way, print the table, and return its rows."""
    for way in WAYS:
        assert_agrees(way, dtype)
    calls = {way: call_of(way, SHAPES[shape], dtype, what) for way in WAYS}
    timings = interleave(calls, seconds=args.seconds, least=3, most=15)
    print(f"\n{shape}: batch, channels, length {SHAPES[shape]}, {dtype}; {what}")
    rows = []
    for way, timing in timings.items():
        row: dict[str, Any] = {"shape": shape, "sizes": SHAPES[shape], "dtype": dtype, "pass": what, "way": way}
        printed = None
        if not args.quick:
            printed = in_own_process("--threads", str(args.threads), "--memory", shape, dtype, way, what)
        rows.append(row | asdict(timing) | {"memory_mb": float(printed) if printed else None})
        spread = f"({timing.low:.3f} to {timing.high:.3f}, {timing.rounds} rounds)"
        memory = f"{float(printed):7.0f} MB" if printed else ""
        print(f"  {way:28} {timing.median:9.3f} ms {spread:36} {timing.ratio:7.1f} x {memory}")
    return rows


def assert_agrees(way: str, dtype: str) -> None:
    """Compare a way's output and gradients with the reference in float64, on a small problem."""
    conv, layout = WAYS[way]
    *leaves, grad = draw((2, 35, 70), DTYPES[dtype], layout)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    y, right = conv(*leaves), causal_conv1d(*exact, "silu", backend="reference")
    found = [y, *torch.autograd.grad(y, leaves, grad)]
    expected = [right, *torch.autograd.grad(right, exact, grad.double())]
    for mine, theirs in zip(found, expected, strict=True):
        error = ((mine.double() - theirs).norm() / theirs.norm()).item()
        if not error < BOUNDS[dtype]:
            raise SystemExit(f"{way}, {dtype}: differs from the reference by {error:.1e}; nothing is timed")


def worst_ratio(rows: list[dict[str, Any]], what: str) -> float:
    """Take the least of F.conv1d's time in ours, in the same layout, over shapes; float32."""
    found = {(row["shape"], row["way"]): row for row in rows if (row["pass"], row["dtype"]) == (what, "float32")}
    layouts = ("channel-last", "channel-first")
    pairs = [(shape, layout) for shape in {shape for shape, _ in found} for layout in layouts]
    return min(found[s, f"F.conv1d, {layout}"]["median"] / found[s, f"ours, {layout}"]["median"] for s, layout in pairs)


if __name__ == "__main__":
    main()
