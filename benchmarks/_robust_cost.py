"""What the guard costs: time and memory of Vim-Ti at batch 64, with and without, and of a training step, in turns.

python benchmarks/_robust_cost.py [--quick]
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _robust_base import OUT
from _timing import interleave, machine

from mamba_mender._files import write_atomic
from mamba_mender.cli.allocator import keep_freed_memory
from mamba_mender.data import Batch, MemoryImages, Normalise
from mamba_mender.models import create_model
from mamba_mender.repair.guard import GuardConfig, StateGuard
from mamba_mender.repair.guard.state_guard import default_sites
from mamba_mender.repair.guard_training import GuardStep, GuardTraining
from mamba_mender.training import TrainConfig
from mamba_mender.training.optimiser import make_optimiser
from mamba_mender.training.run import Run
from mamba_mender.training.step import Step, StepContext, classify

BATCH, HEALTHY, CLASSES = 64, 256, 1000
PEAKS = ("none", "guard", "repaired")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model")
    parser.add_argument("--peak", choices=PEAKS, help="print the peak memory of one run, in MB")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    name, side = ("vim_micro", 32) if args.quick else ("vim_tiny", 224)
    path = OUT / f"cost-guard-{name}.safetensors"
    torch.manual_seed(0)
    model = create_model(name, num_classes=CLASSES, img_size=side).eval()
    images = torch.randn(HEALTHY, 3, side, side)
    if args.peak:
        print(peak_of(model, images, args.peak, path))
        return
    if not path.is_file():
        StateGuard.calibrate(model, images, batch_size=32).save(path)
    found: dict[str, Any] = {"machine": machine(), "model": name, "batch": BATCH}
    found |= times(model, images, path, args.rounds)
    found |= training_times(model, side, args.rounds)
    peaks = {which: peak(which, args.quick) for which in PEAKS}
    found["memory"] = {"MB": peaks, "share added": peaks["guard"] / peaks["none"] - 1}
    found["memory, all samples repaired"] = {"share added": peaks["repaired"] / peaks["none"] - 1}
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
    if flagged["shifted"] < 0.9:
        raise SystemExit(f"only {flagged['shifted']:.0%} of the shifted samples are flagged, so repair is not timed")
    return {
        "flagged": flagged,
        "inference time": {"share added": found["guard, healthy"] - 1},
        "inference time, all samples repaired": {"share added": found["guard, shifted"] - 1},
    }


def training_times(model: torch.nn.Module, side: int, rounds: int) -> dict[str, Any]:
    """Time training steps: plain, with pixels pushed, with states corrupted, and with what each tenth step does more.

    Freed memory is kept, as it is by the command that trains, and in the other benchmark of training steps. A step with
    the guard does one of two things, drawn by their shares; the costs are weighted by these.
    """
    keep_freed_memory()
    default, normalise = GuardTraining(healthy_count=HEALTHY), Normalise([0.5] * 3, [0.25] * 3)
    pixels = (255 * torch.rand(HEALTHY, 3, side, side)).byte()
    data = MemoryImages(pixels, torch.arange(HEALTHY) % CLASSES)
    kinds = {
        "pixels": GuardTraining(healthy_count=HEALTHY, state_noise=0.0, state_gain=0.0),
        "states": GuardTraining(healthy_count=HEALTHY, adversarial_eps=0.0),
    }
    steps: dict[str, Step] = {"plain": classify}
    for kind, training in kinds.items():
        steps[kind] = GuardStep(
            training=training,
            config=GuardConfig(),
            sites=default_sites(model),
            images=data,
            normalise=normalise,
            seed=0,
        )
        steps[kind].on_start(Run(model, TrainConfig(steps=1), 1, None))
    batch = data.batch(torch.arange(BATCH))
    calls = {kind: training_step(model, batch, normalise, step, number=1) for kind, step in steps.items()}
    calls["refresh"] = training_step(model, batch, normalise, steps["states"], number=0)
    found = {kind: timing.ratio for kind, timing in interleave(calls, seconds=0, least=rounds, most=rounds).items()}
    refresh = max(found["refresh"] - found["states"], 0.0) / default.refresh_every
    states = default.kinds.get("noise", 0.0) + default.kinds.get("gain", 0.0)
    mixed = states * found["states"] + (1 - states) * found["pixels"]
    return {
        "training steps, in plain ones": found,
        "training time": {"share added": mixed + refresh - 1},
        "training time, no pixels pushed": {"share added": found["states"] + refresh - 1},
    }


def training_step(
    model: torch.nn.Module, batch: Batch, normalise: Normalise, step: Step, *, number: int
) -> Callable[[], None]:
    """Make a call that trains on one batch: forward, backward, clipping and AdamW, as `train` does."""
    optimiser = make_optimiser(model, learning_rate=1e-6, weight_decay=0.05)
    criterion = torch.nn.CrossEntropyLoss()

    def call() -> None:
        model.train()
        step(StepContext(model, batch, normalise(batch.images), criterion, number))["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return call


def peak(which: str, quick: bool) -> float:
    """Measure the peak memory of a fresh process."""
    command = [sys.executable, __file__, "--peak", which, *(["--quick"] if quick else [])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1])


@torch.no_grad()
def peak_of(model: torch.nn.Module, images: torch.Tensor, which: str, path: Path) -> float:
    """Give the peak of this process; `getrusage` would give its parent's where that was larger."""
    runs = model if which == "none" else StateGuard.load(path)(model)
    for _ in range(2):
        runs(3 * images[:BATCH] + 1 if which == "repaired" else images[:BATCH])
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    main()
