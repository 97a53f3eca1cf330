"""How long does it take to look inside a Mamba, and how much memory; and how much faster is one on our kernels?

At mamba-130m's shape (24 layers, 1536 channels, 16 numbers of state; random weights, batch 1, float32): states, rows,
the whole attention matrix and the rollout of the last token, by ours, by the definition written out in torch, and by
TransformerLens where its tensors fit. Each in a process of its own, so that its peak memory is its own: what the
process grows by, at most, beyond the model. Then transformers' model as it comes against the same on our
kernels: prefill and a training step. Nothing is timed before the ways agree.

    python benchmarks/inspection.py --quick
    python benchmarks/inspection.py          # about 15 minutes; the peers need up to 12 GB
"""

import argparse
import copy
import ctypes
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from _goals import told
from _inspected import OURS, QUANTITIES, WAYS, Sizes, forward_pass, language_model, not_run, prepare, tokens
from _timing import in_own_process, interleave, machine, peak_memory, write_json
from torch import Tensor

from mamba_mender.ops import cpu
from mamba_mender.taps import accelerate_model

LENGTHS = (64, 512, 2048, 16384)
ROLLOUT_GB, ROLLOUT_TIME = "rollout of one token at {}, GB", "rollout of one token at {}, in forward passes"
PREFILL = "prefill at {} tokens, transformers in our time"
GOALS = {ROLLOUT_GB.format(16384): 2.0, ROLLOUT_TIME.format(16384): 3.0, PREFILL.format(1024): 3.0}
AT_MOST = [ROLLOUT_GB.format(16384), ROLLOUT_TIME.format(16384)]
THEIRS, ACCELERATED = "transformers as it comes", "on our kernels"
SMALL = Sizes(layers=2, dim=32, vocabulary=64)


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    if args.case:
        quantity, way, length = args.case
        print(json.dumps(measure_case(quantity, way, int(length), args)))
        return
    began = time.monotonic()
    place = machine("transformers", "transformer_lens") | {"instruction_set": cpu.instruction_set()}
    print(f"{place['processor']}, {args.threads} threads, {place['instruction_set']}, load {place['load']:.1f} before")
    check_agreement()
    rows = [case(quantity, way, length, args) for quantity in QUANTITIES for length in args.lengths for way in WAYS]
    models = compare_models(args)
    results = {"machine": place, "dtype": "float32", "goals": GOALS, "at_most": AT_MOST, "rows": rows, "models": models}
    results["reached"] = reached(rows, models)
    write_json(args.out, results)
    print("", *told(results, only_measured=args.quick), sep="\n")
    print(f"written: {args.out}, {time.monotonic() - began:.0f} s")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny model in one process: does it run at all")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0, help="for one table of the models")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "inspection.json")
    parser.add_argument("--case", nargs=3, metavar=("QUANTITY", "WAY", "LENGTH"), help="measure one, and print it")
    args = parser.parse_args()
    args.sizes = Sizes()
    if args.quick:
        args.threads, args.lengths, args.seconds, args.sizes = 1, (16, 40), 0.1, SMALL
        args.out = Path("runs/benchmarks/inspection-quick.json")
    return args


def check_agreement() -> None:
    """Compare all ways on a small model, and refuse to go on if one differs."""
    for quantity in QUANTITIES:
        ways = [way for way in WAYS if not_run(quantity, way, 24, SMALL) is None]
        found = {way: prepare(quantity, way, 24, SMALL)() for way in ways}
        for way, value in found.items():
            error = (value - found[OURS]).norm() / found[OURS].norm()
            if not error < 1e-4:
                raise SystemExit(f"{quantity}: {way} differs from ours by {error:.1e}; nothing timed")


def case(quantity: str, way: str, length: int, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one way in a process of its own, unless it cannot be run."""
    row: dict[str, Any] = {"quantity": quantity, "way": way, "length": length}
    why = not_run(quantity, way, length, args.sizes)
    if why is None and args.quick:
        row |= measure_case(quantity, way, length, args)
    elif why is None:
        printed = in_own_process("--threads", str(args.threads), "--case", quantity, way, str(length))
        row |= {"not_timed": "its process ended with an error"} if printed is None else json.loads(printed)
    else:
        row["not_timed"] = why
    told = row.get("not_timed") or f"{row['seconds']:9.3f} s  {row['memory_mb']:8.0f} MB"
    in_passes = f"  {row['in_forward_passes']:.2f} forward passes" if "in_forward_passes" in row else ""
    print(f"  {quantity:8} {length:6} {way:16} {told}{in_passes}", flush=True)
    return row


def measure_case(quantity: str, way: str, length: int, args: argparse.Namespace) -> dict[str, Any]:
    """Measure time, median of some rounds, and the peak memory of the first; the rollout also in forward passes."""
    prepare(quantity, way, 16, SMALL)()  # loads what is loaded once
    call = prepare(quantity, way, length, args.sizes)
    give_back_freed_memory()
    taken: list[float] = []
    memory = peak_memory(lambda: taken.append(seconds(call)))
    rounds = 1 if taken[0] > 60 else 3
    found: dict[str, Any] = {"memory_mb": memory}
    if quantity == "rollout" and way == OURS:
        forward = forward_pass(length, args.sizes)
        forward()
        pairs = [(seconds(forward), seconds(call)) for _ in range(3)]
        taken = [mine for _, mine in pairs]
        found["forward_seconds"] = statistics.median(theirs for theirs, _ in pairs)
        found["in_forward_passes"] = statistics.median(mine / theirs for theirs, mine in pairs)
    else:
        taken += [seconds(call) for _ in range(rounds - 1)]
    return found | {"seconds": statistics.median(taken), "low": min(taken), "high": max(taken), "rounds": len(taken)}


def give_back_freed_memory() -> None:
    """Let the process shrink to what it uses, so that a call cannot hide in memory that was freed before."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def compare_models(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time transformers' model as it comes and on our kernels, prefill and a training step."""
    sizes, lengths = args.sizes, (24, 16) if args.quick else (1024, 128)
    theirs = language_model(sizes, sizes.layers, sizes.vocabulary)
    ours = copy.deepcopy(theirs)
    accelerate_model(ours)
    rows = []
    for what, length in zip(("prefill", "training step"), lengths, strict=True):
        ids = tokens(length, sizes.vocabulary)
        with torch.no_grad():
            expected, found = theirs(ids).logits, ours(ids).logits
        error = float((found - expected).abs().max() / expected.abs().max())
        if not error < 1e-5:
            raise SystemExit(f"{what}: logits differ by {error:.1e} of the largest; nothing timed")
        make = prefill if what == "prefill" else training_step
        calls = {ACCELERATED: make(ours, ids), THEIRS: make(theirs, ids)}
        timings = interleave(calls, seconds=args.seconds, least=3, most=9)
        for way, timing in timings.items():
            rows.append({"op": what, "length": length, "way": way, "logits_error": error} | asdict(timing))
            print(f"  {what:14} {length:5} {way:26} {timing.median / 1e3:8.3f} s  {timing.ratio:6.2f} x", flush=True)
    return rows


def prefill(model: Any, ids: Tensor) -> Callable[[], Any]:
    """Read a prompt, as generation begins: the logits of the last token."""
    return torch.no_grad()(lambda: model(ids, logits_to_keep=1, use_cache=True))


def training_step(model: Any, ids: Tensor) -> Callable[[], Any]:
    """Forward, backward and AdamW."""
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        model(ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def reached(rows: list[dict[str, Any]], models: list[dict[str, Any]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        if row["quantity"] == "rollout" and row["way"] == OURS and "seconds" in row:
            found[ROLLOUT_GB.format(row["length"])] = row["memory_mb"] * 2**20 / 1e9
            found[ROLLOUT_TIME.format(row["length"])] = row["in_forward_passes"]
    for row in models:
        if row["op"] == "prefill" and row["way"] == THEIRS:
            found[PREFILL.format(row["length"])] = row["ratio"]
    return {goal: found[goal] for goal in GOALS if goal in found}


if __name__ == "__main__":
    main()
