"""How fast is one step of decoding: each op alone, and a whole model of mamba-130m's size, token by token?

The ops against plain torch (the reference) and transformers' functions; the model, on random weights in float32 and
bfloat16, against transformers' on the same memory. Nothing is timed before outputs and states have agreed. A model
that decodes one sequence reads every weight once for a token, so the least time is that of the reading: the share of
the memory bandwidth, which limits.cpp measures in the same run by summing an array larger than the caches.

    python benchmarks/step.py --quick
    python benchmarks/step.py
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from _decoder import Decoder, Sizes, TransformersDecoder, draw_weights, has_transformers
from _goals import told
from _limits import measure_limits
from _timing import interleave, machine, write_json
from torch import Tensor

from mamba_mender.ops import causal_conv1d_update, cpu, selective_state_update

OURS, REFERENCE, THEIRS, DISPATCHED = "ours", "plain torch", "transformers", "ours, through torch's dispatcher"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BOUNDS = {"float32": 1e-4, "bfloat16": 6e-2}  # relative norm; the dtypes' rounding goes through every layer
GOALS = {
    "float32, share of the memory bandwidth": 0.6,
    "float32, against transformers": 2.5,
    "bfloat16, against transformers": 2.5,
}
STATE, TAPS = 16, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny model, a few rounds: does it run at all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0, help="for one table")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "step.json")
    args = parser.parse_args()
    args.threads = 1 if args.quick else args.threads  # a busy machine makes spinning threads very slow
    torch.set_num_threads(args.threads)
    sizes, shapes, limits = Sizes(), [(1, 1536), (32, 1536)], {"seconds": 0.5, "megabytes": 512}
    if args.quick:
        sizes, shapes, limits = Sizes(2, 64, 256), [(1, 96)], {"seconds": 0.05, "megabytes": 64}
        args.seconds, args.out = 0.3, Path("runs/benchmarks/step-quick.json")
    place = machine("transformers") | {"instruction_set": cpu.instruction_set()}
    print(f"{place['processor']}, {args.threads} threads, {place['instruction_set']}, load {place['load']:.1f} before")
    measured = measure_limits(args.threads, **limits)
    bandwidth = bandwidth_of(measured, args.threads)
    calls = [row for shape in shapes for row in time_ops(shape, args)]
    tokens = [row for dtype in DTYPES for row in time_model(dtype, sizes, bandwidth, args)]
    reached = summed_up(tokens)
    results = {"machine": place, "limits": measured, "goals": GOALS, "reached": reached, "ops": calls, "model": tokens}
    write_json(args.out, results)
    print("", *told(results), f"written: {args.out}", sep="\n")


def bandwidth_of(limits: Mapping[str, Any], threads: int) -> float | None:
    """Take bytes read per second by all threads; None without a compiler, which was said then."""
    found = limits.get(f"{threads} thread{'s' * (threads > 1)}")
    return None if found is None else found["bytes_read"]


def time_ops(shape: tuple[int, int], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time one call of each op, all ways."""
    rows = []
    for op, ways in (("state update", state_ways(*shape)), ("convolution update", conv_ways(*shape))):
        agree(f"{op}, {shape}", {way: call() for way, call in ways.items()}, REFERENCE, 1e-5)
        timings = interleave(ways, seconds=args.seconds / 6, least=3, most=15)
        print(f"\n{op}: batch {shape[0]}, channels {shape[1]}, float32, one call")
        for way, timing in timings.items():
            rows.append({"op": op, "shape": shape, "way": way} | asdict(timing))
            spread = f"({1e3 * timing.low:.1f} to {1e3 * timing.high:.1f})"
            print(f"  {way:34} {1e3 * timing.median:9.1f} us {spread:20} {timing.ratio:7.1f} x")
    return rows


def state_ways(batch: int, dim: int) -> dict[str, Callable[[], Tensor]]:
    """Make the ways to step a state; each has a state of its own, which it returns with the output."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    x, dt, z, B, C = (
        normal(batch, dim),
        normal(batch, dim),
        normal(batch, dim),
        normal(batch, STATE),
        normal(batch, STATE),
    )
    A, D, bias = -torch.arange(1.0, STATE + 1).repeat(dim, 1), normal(dim), normal(dim) - 4
    start = normal(batch, dim, STATE)

    def way(step: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        state = start.clone()

        @torch.inference_mode()
        def call() -> Tensor:
            return step(state)

        return call

    ways = {
        OURS: way(lambda s: selective_state_update(s, x, dt, A, B, C, D, z, bias, dt_softplus=True, backend="cpu")),
        DISPATCHED: way(lambda s: torch.ops.mamba_mender.state_update(s, x, dt, A, B, C, D, z, bias, True)),
        REFERENCE: way(
            lambda s: selective_state_update(s, x, dt, A, B, C, D, z, bias, dt_softplus=True, backend="reference")
        ),
    }
    if has_transformers():
        from transformers.models.mamba.modeling_mamba import mamba_selective_state_update

        ways[THEIRS] = way(
            lambda s: mamba_selective_state_update(s, x, dt, A, B, C, D, z=z, dt_bias=bias, dt_softplus=True)
        )
    return ways


def conv_ways(batch: int, channels: int) -> dict[str, Callable[[], Tensor]]:
    """Make the ways to convolve one more step; each has a window of its own."""
    random = torch.Generator().manual_seed(0)
    x, start = (torch.randn(batch, channels, n, generator=random) for n in (1, TAPS))
    weight, bias = torch.randn(channels, TAPS, generator=random), torch.randn(channels, generator=random)

    def way(step: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        window = start.clone()

        @torch.inference_mode()
        def call() -> Tensor:
            return step(window)

        return call

    ways = {
        OURS: way(lambda w: causal_conv1d_update(x, w, weight, bias, "silu", backend="cpu")),
        DISPATCHED: way(lambda w: torch.ops.mamba_mender.conv_update(x, w, weight, bias, True)),
        REFERENCE: way(lambda w: causal_conv1d_update(x, w, weight, bias, "silu", backend="reference")),
    }
    if has_transformers():
        from transformers.models.mamba.modeling_mamba import causal_conv1d_update as theirs

        ways[THEIRS] = way(lambda w: theirs(x, w, weight, bias, "silu"))
    return ways


def time_model(dtype: str, sizes: Sizes, bandwidth: float | None, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time a token of the whole model, ours and transformers'."""
    weights = draw_weights(sizes, DTYPES[dtype])
    ours = Decoder(weights, sizes)
    models: dict[str, Callable[[int], Tensor]] = {OURS: ours}
    if has_transformers():
        models[THEIRS] = TransformersDecoder(weights, sizes)
    for token in range(5):
        agree(f"{dtype} model, token {token}", {n: model(token) for n, model in models.items()}, OURS, BOUNDS[dtype])
    calls = {name: lambda model=model: model(7) for name, model in models.items()}
    timings = interleave(calls, seconds=args.seconds, least=3, most=40)
    size = ours.bytes_read()
    print(f"\nmodel: {sizes.layers} layers, width {sizes.dim}, {dtype}, {size / 1e6:.0f} MB of weights, one token")
    rows = []
    for name, timing in timings.items():
        rate = size / (timing.median / 1e3)
        row = {"dtype": dtype, "sizes": asdict(sizes), "way": name} | asdict(timing)
        row |= {"tokens_per_second": 1e3 / timing.median, "bytes_per_second": rate}
        row |= {"share_of_bandwidth": None if bandwidth is None else rate / bandwidth}
        rows.append(row)
        share = "" if bandwidth is None else f", {100 * rate / bandwidth:.0f} % of the bandwidth"
        print(
            f"  {name:14} {timing.median:8.2f} ms ({timing.low:.2f} to {timing.high:.2f}, {timing.rounds} rounds)"
            f" {1e3 / timing.median:7.1f} tokens/s {rate / 1e9:6.1f} GB/s{share} {timing.ratio:5.1f} x"
        )
    if not has_transformers():
        rows.append({"dtype": dtype, "way": THEIRS, "not_timed": "it is not installed"})
        print(f"  {THEIRS:14} not installed")
    return rows


def agree(what: str, found: dict[str, Tensor], right: str, bound: float) -> None:
    """Refuse to time what differs."""
    expected = found[right].double()
    for way, tensor in found.items():
        error = ((tensor.double() - expected).norm() / expected.norm()).item()
        if not error < bound:
            raise SystemExit(f"{what}: {way} differs from {right} by {error:.1e}; nothing is timed")


def summed_up(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Sum up against the goals; what this machine cannot show is missing."""
    found = {(row["dtype"], row["way"]): row for row in rows if "median" in row}
    reached = {
        f"{dtype}, against {THEIRS}": found[dtype, THEIRS]["ratio"] for dtype in DTYPES if (dtype, THEIRS) in found
    }
    share = found["float32", OURS]["share_of_bandwidth"]
    return reached if share is None else {"float32, share of the memory bandwidth": share} | reached


if __name__ == "__main__":
    main()
