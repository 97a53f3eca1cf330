"""What the guard costs: time and memory of Vim-Ti at batch 64, with and without, in turns.

python benchmarks/_robust_cost.py [--quick]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from _robust_base import OUT
from _timing import interleave, machine

from mamba_mender._files import write_atomic
from mamba_mender.models import create_model
from mamba_mender.repair.guard import StateGuard

BATCH, HEALTHY = 64, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model")
    parser.add_argument("--peak", choices=["none", "guard"], help="print the peak memory of one run, in MB")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    name, side = ("vim_micro", 32) if args.quick else ("vim_tiny", 224)
    path = OUT / f"cost-guard-{name}.safetensors"
    torch.manual_seed(0)
    model = create_model(name, num_classes=1000, img_size=side).eval()
    images = torch.randn(HEALTHY, 3, side, side)
    if args.peak:
        print(peak_of(model, images, args.peak, path))
        return
    if not path.is_file():
        StateGuard.calibrate(model, images, batch_size=32).save(path)
    found: dict[str, Any] = {"machine": machine(), "model": name, "batch": BATCH}
    found |= times(model, images, path, args.rounds)
    peaks = {which: peak(which, args.quick) for which in ("none", "guard")}
    found["memory"] = peaks | {"share added": peaks["guard"] / peaks["none"] - 1}
    OUT.mkdir(parents=True, exist_ok=True)
    print(json.dumps(found, indent=1))
    if not args.quick:
        write_atomic(OUT / "cost.json", json.dumps(found, indent=1).encode())


@torch.no_grad()
def times(model: torch.nn.Module, images: torch.Tensor, path: Path, rounds: int) -> dict[str, Any]:
    """Time healthy batches, which are judged alone, and shifted ones, which are repaired."""
    guarded = StateGuard.load(path)(model)
    healthy, shifted = images[:BATCH], 3 * images[:BATCH] + 1
    guarded(healthy)
    calls = {
        "none, healthy": lambda: model(healthy),
        "guard, healthy": lambda: guarded(healthy),
        "guard, shifted": lambda: guarded(shifted),
    }
    found = {name: timing.ratio for name, timing in interleave(calls, seconds=0, least=rounds, most=rounds).items()}
    flagged = {}
    for name, batch in {"healthy": healthy, "shifted": shifted}.items():
        guarded.reset()
        guarded(batch)
        assert guarded.last is not None
        assert guarded.last.flagged is not None
        flagged[name] = float(guarded.last.flagged.double().mean())
    return {
        "flagged": flagged,
        "inference time": {"share added": found["guard, healthy"] - 1},
        "inference time, all samples repaired": {"share added": found["guard, shifted"] - 1},
    }


def peak(which: str, quick: bool) -> float:
    """Measure the peak memory of a fresh process."""
    command = [sys.executable, __file__, "--peak", which, *(["--quick"] if quick else [])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1])


@torch.no_grad()
def peak_of(model: torch.nn.Module, images: torch.Tensor, which: str, path: Path) -> float:
    import resource

    runs = StateGuard.load(path)(model) if which == "guard" else model
    for _ in range(2):
        runs(3 * images[:BATCH] + 1)
        time.sleep(0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
