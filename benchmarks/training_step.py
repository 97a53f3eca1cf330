"""What does a whole training step cost: forward, backward and AdamW, beside the same model on other scans?

Vim with 192 channels, 12 layers, 64 tokens (32 x 32 images, patches of 4), batch 64; its scans run by our kernels, by
a plain torch loop or by mambapy's parallel scan, with equal logits; float32, and bfloat16 autocast. Where the time goes
is also told for Vim-Ti on 224 x 224 images and for the shape of the language model of 130 million parameters.

    python benchmarks/training_step.py --quick
    python benchmarks/training_step.py         # about ten minutes; the peers need up to 11 GB
"""

import argparse
import importlib.util
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from _goals import told
from _models import language, scanned_by, training_step, vim
from _profile import PRODUCTS, where_time_goes
from _scans import LOOP
from _timing import interleave, machine, write_json

from mamba_mender.cli.allocator import keep_freed_memory
from mamba_mender.ops import cpu

OURS, HALF, MAMBAPY = "ours", "ours, bfloat16 autocast", "mambapy"
LOGITS = {LOOP: 1e-4, MAMBAPY: 1e-4}  # relative norm, float32
GOALS = {
    "plain loop, in our steps": 9.0,
    "mambapy, in our steps": 15.0,
    "share of the time in matrix products": 0.7,
    "float32, in bfloat16 steps": 1.4,
}
PEER_GB = {LOOP: 0.25, MAMBAPY: 0.45}  # a scan of the model keeps so much for its backward pass; estimates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small model, a few rounds: does it run at all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=120.0, help="for ours; the slow peers get three rounds")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "training_step.json")
    args = parser.parse_args()
    if args.quick:
        args.threads, args.seconds, args.out = 1, 0.3, Path("runs/benchmarks/training_step-quick.json")
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    place = machine("mambapy") | {"instruction_set": cpu.instruction_set(), "half": half_support()}
    print(f"{place['processor']}, {args.threads} threads, {place['half']}, load {place['load']:.1f} before")
    made = vim(32, 4, 1, 2) if args.quick else vim()
    shape = "vim 192 x 1, batch 2" if args.quick else "vim 192 x 12, 64 tokens, batch 64"
    rows = compare(shape, made, args)
    profiles = profile(shape, made, args.quick)
    results = {"machine": place, "goals": goals(place), "rows": rows, "profiles": profiles}
    results["reached"] = reached(rows, profiles[shape])
    write_json(args.out, results)
    print("", *told(results, only_measured=args.quick), f"written: {args.out}", sep="\n")


def half_support() -> str:
    """Name what the processor has for bfloat16 products."""
    known = Path("/proc/cpuinfo")
    flags = set(known.read_text().split()) if known.exists() else set()
    return next((name for name in ("amx_bf16", "avx512_bf16") if name in flags), "no bfloat16 instructions")


def goals(place: dict[str, Any]) -> dict[str, float]:
    """Leave out the goal for bfloat16 on a processor without it."""
    without = place["half"].startswith("no ")
    return {name: goal for name, goal in GOALS.items() if not (without and "bfloat16" in name)}


def compare(shape: str, made: tuple[Any, torch.Tensor, torch.Tensor], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time the step with ours in both dtypes, then beside each peer; the ratio is to ours of the same rounds."""
    model, inputs, _ = made
    steps = {OURS: training_step(*made), HALF: training_step(*made, autocast=True)}
    rows = []
    for name, timing in interleave(steps, seconds=args.seconds, least=3).items():
        rows.append({"shape": shape, "pass": "training step", "way": name} | asdict(timing))
        print(f"  {name:24} {timing.median:8.1f} ms ({timing.low:.1f} to {timing.high:.1f}), {timing.ratio:.2f} x")
    for name in (LOOP, MAMBAPY):
        row: dict[str, Any] = {"shape": shape, "pass": "training step", "way": name}
        needs = PEER_GB[name] * sum(type(module).__name__ == "Scan" for module in model.modules())
        if name == MAMBAPY and not importlib.util.find_spec("mambapy"):
            row["not_timed"] = "mambapy is not installed"
        elif not args.quick and needs > available_gb():
            row["not_timed"] = f"needs about {needs:.0f} GB, and {available_gb():.0f} are free"
        else:
            assert_same_logits(model, inputs, name)
            calls = {OURS: steps[OURS], name: training_step(*made, scan=name)}
            row |= asdict(interleave(calls, seconds=0, least=3)[name])
        rows.append(row)
        print(f"  {name:24} " + (row.get("not_timed") or f"{row['median']:8.1f} ms, {row['ratio']:.2f} x"), flush=True)
    return rows


def assert_same_logits(model: torch.nn.Module, inputs: torch.Tensor, name: str) -> None:
    with torch.no_grad():
        expected = model(inputs)
        with scanned_by(name):
            found = model(inputs)
    error = ((found - expected).norm() / expected.norm()).item()
    if not error < LOGITS[name]:
        raise SystemExit(f"{name}: its logits differ from ours by {error:.1e}; nothing is timed")


def profile(shape: str, made: tuple[Any, torch.Tensor, torch.Tensor], quick: bool) -> dict[str, dict[str, float]]:
    """Say where the time of our steps goes, for each model and dtype."""
    models = {shape: lambda: made}
    if not quick:
        models |= {"Vim-Ti, 224 x 224, batch 2": lambda: vim(224, 16, 24, 2), "130m, length 512, batch 1": language}
    found = {}
    for name, make in models.items():
        of = make()
        for dtype, autocast in (("", False), (", bfloat16 autocast", True)):
            step = training_step(*of, autocast=autocast)
            step()
            shares = where_time_goes(step)
            found[name + dtype] = shares
            told = ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items())
            print(f"  {name + dtype}: {told}", flush=True)
    return found


def reached(rows: list[dict[str, Any]], shares: dict[str, float]) -> dict[str, float]:
    ratios = {row["way"]: row["ratio"] for row in rows if "ratio" in row}
    found = {f"{name}, in our steps": ratios[name] for name in (LOOP, MAMBAPY) if name in ratios}
    found["share of the time in matrix products"] = shares[PRODUCTS]
    if not half_support().startswith("no "):
        found["float32, in bfloat16 steps"] = 1 / ratios[HALF]
    return found


def available_gb() -> float:
    """Give the memory that is free for use."""
    facts = Path("/proc/meminfo")
    if not facts.exists():
        raise SystemExit("free memory is read from /proc, which this system does not have")
    line = next(line for line in facts.read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) / 2**20


if __name__ == "__main__":
    main()
