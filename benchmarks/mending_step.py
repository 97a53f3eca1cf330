"""What does a mending step cost beside a plain training step, and where does its time go?

The same images feel the cross-entropy and the constraint, so a ratio of 5 means: one mending step for five plain ones.
float32; forward, backward, clipping, AdamW.

    python benchmarks/mending_step.py --quick
    python benchmarks/mending_step.py
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from _profile import where_time_goes
from _timing import interleave, machine, write_json

from mamba_mender.cli.allocator import keep_freed_memory
from mamba_mender.models import create_model
from mamba_mender.ops import cpu
from mamba_mender.repair import external_loss, internal_loss, path_loss
from mamba_mender.taps import find_states, record

SHAPES: dict[str, tuple[str, dict[str, Any], int]] = {  # model, its settings, batch
    "vim_micro, 28 x 28, batch 64": ("vim_micro", {"img_size": 28, "in_chans": 1}, 64),
    "vim_nano, 28 x 28, batch 64": ("vim_nano", {"img_size": 28, "in_chans": 1}, 64),
    "vim_tiny at depth 6, 32 x 32, patch 4, batch 16": ("vim_tiny", {"img_size": 32, "patch_size": 4, "depth": 6}, 16),
}
QUICK = {"vim_micro, 8 x 8, batch 8": ("vim_micro", {"img_size": 8, "patch_size": 2, "in_chans": 1}, 8)}
GOAL = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small model, a few rounds: does it run at all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0, help="for each model")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mending_step.json")
    args = parser.parse_args()
    if args.quick:
        args.threads, args.seconds, args.out = 1, 0.3, Path("runs/benchmarks/mending_step-quick.json")
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    place = machine() | {"instruction_set": cpu.instruction_set()}
    print(f"{place['processor']}, {args.threads} threads, load {place['load']:.1f} before")
    results = {}
    for name, (model, settings, batch) in (QUICK if args.quick else SHAPES).items():
        steps = make_steps(model, settings, batch)
        timings = interleave(steps, seconds=args.seconds)
        shares = where_time_goes(steps["+Ext, path"])
        results[name] = {"steps": {k: asdict(t) for k, t in timings.items()}, "path_step_profile": shares}
        print(f"\n{name}")
        for step, timing in timings.items():
            print(f"  {step:28s} {timing.median:8.1f} ms [{timing.low:.1f}, {timing.high:.1f}]  {timing.ratio:5.2f} x")
        print("  +Ext, path: " + ", ".join(f"{op} {100 * share:.0f} %" for op, share in shares.items()))
    write_json(args.out, {"machine": place, "goal": GOAL, "results": results})
    print(f"written: {args.out}")


def make_steps(name: str, settings: dict[str, Any], batch: int) -> dict[str, Callable[[], None]]:
    """Make the training steps that are compared, all on one model."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=10, **settings)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-5)
    images = torch.randn(batch, model.in_chans, *model.img_size)
    swapped, labels = torch.randn_like(images), torch.randint(10, (batch,))
    masks, everywhere = torch.rand(batch, 1, *model.img_size) > 0.3, torch.ones(batch, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    inner = find_states(model, ["last.x"])
    embedding, deep = find_states(model, ["embedding"]), find_states(model, ["last.c", "last.s"])

    def plain() -> torch.Tensor:
        return F.cross_entropy(model(images), labels)

    def path() -> torch.Tensor:
        return plain() + path_loss(model, images, swapped, generator)

    def external(keys, detach_gradient=False) -> torch.Tensor:
        with record(model, {key.state for key in keys}, scans=False, blocks={key.block for key in keys}) as run:
            logits = model(images)
        how = {"measure": "share", "detach_gradient": detach_gradient, "class_token": model.class_token_index}
        loss = external_loss(run, logits, labels, masks, everywhere, keys, grid=model.grid, **how)
        return F.cross_entropy(logits, labels) + loss

    def internal() -> torch.Tensor:
        with record(model, {"x"}, scans=False, blocks={key.block for key in inner}) as run:
            logits = model(images)
        width = run.states[inner[0]].shape[-1]
        templates = {key: torch.arange(width).remainder(2).bool().expand(10, width) for key in inner}
        return F.cross_entropy(logits, labels) + internal_loss(run, logits, labels, templates)

    def step(loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
        def run() -> None:
            optimiser.zero_grad()
            loss().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()

        return run

    return {
        "plain": step(plain),
        "+Ext, path": step(path),
        "+Ext, embedding": step(lambda: external(embedding)),
        "+Ext, last c and s": step(lambda: external(deep)),
        "+Ext, last c and s, detached": step(lambda: external(deep, detach_gradient=True)),
        "+Int, last x": step(internal),
    }


if __name__ == "__main__":
    main()
