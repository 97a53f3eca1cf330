"""What no cell of a stress test tells: outputs equal to the bit, faults found, and whether attacks are masked."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from _robust_base import base_of
from _robust_models import guard_of, models_of
from _robust_suites import EPS, FAULT

from mamba_mender._files import write_atomic
from mamba_mender.data import ImageData, Normalise, add_noise
from mamba_mender.repair.guard.ablation import ablate_guard
from mamba_mender.stress.attacks import Attack, masking_checks
from mamba_mender.stress.faults import detection_auc, state_fault

IMAGES, CHECKED = 2000, 100


def extras_of(seed: int, data: ImageData, out: Path) -> dict[str, Any]:
    """Measure a seed's outputs and faults, or read what was measured."""
    return kept(out / f"extras-{seed}.json", lambda: _measured(seed, data, out))


def _measured(seed: int, data: ImageData, out: Path) -> dict[str, Any]:
    models = models_of(seed, data, ("none", "guard"), out)
    base, guard = models["none"], models["guard"]
    images = data.test.batch(torch.arange(len(data.test))).images
    return {"seed": seed} | clean_outputs(base, guard, images) | faults_found(guard, images[:IMAGES])


def masking_of(seed: int, data: ImageData, out: Path) -> list[dict[str, Any]]:
    """Check a seed's models for masked gradients, or read what was found."""
    return kept(out / f"masking-{seed}.json", lambda: _checked(seed, data, out))


def _checked(seed: int, data: ImageData, out: Path) -> list[dict[str, Any]]:
    models = models_of(seed, data, ("none", "guard"), out)
    chosen = data.test.batch(torch.arange(CHECKED))
    rows = []
    for name, model in models.items():
        guarded_reset(model)
        source = None if name == "none" else models["none"]
        report = masking_checks(model, chosen.images, chosen.labels, Attack("pgd", eps=EPS), source=source)
        checks = [{"check": c.name, "passed": c.passed, "sentence": c.sentence} for c in report.checks]
        rows.append({"seed": seed, "model": name, "trusted": report.trusted, "checks": checks})
    return rows


def mechanisms_of(seed: int, data: ImageData, out: Path) -> list[dict[str, Any]]:
    """Remove each mechanism of a seed's guard on streams under noise, or read what that gave."""
    return kept(out / f"mechanisms-{seed}.json", lambda: _without_each(seed, data, out))


def _without_each(seed: int, data: ImageData, out: Path) -> list[dict[str, Any]]:
    base = base_of(seed, data, out)
    guard = guard_of(base, data, out / f"base-{seed}" / "guard.safetensors")
    chosen = data.test.batch(torch.arange(IMAGES))
    noisy = add_noise(chosen.images, "gaussian", 0.3, generator=torch.Generator().manual_seed(seed))
    states = Normalise(data.mean, data.std)(noisy)
    order = chosen.labels.sort(stable=True).indices
    streams = {"shuffled": (states, chosen.labels), "label-sorted": (states[order], chosen.labels[order])}
    return [row.to_dict() for row in ablate_guard(guard, base, streams)]


def kept(path: Path, measure: Callable[[], Any]) -> Any:
    """Read what a file holds; where there is none, measure it and write it."""
    if not path.is_file():
        write_atomic(path, json.dumps(measure(), indent=1).encode())
    return json.loads(path.read_text())


@torch.no_grad()
def clean_outputs(base: torch.nn.Module, guard: torch.nn.Module, images: torch.Tensor) -> dict[str, float]:
    """Count the clean outputs that the guard leaves as they are to the bit, and the samples it flags."""
    guarded_reset(guard)
    same, sick = [], []
    for part in images.split(200):
        same.append((base(part) == guard(part)).all(1))
        sick.append(guard[1].last_health < 1)  # pyright: ignore
    return {"identical": float(torch.cat(same).double().mean()), "flagged": float(torch.cat(sick).double().mean())}


@torch.no_grad()
def faults_found(guard: torch.nn.Module, images: torch.Tensor) -> dict[str, float]:
    """Tell samples with faults in one state from samples without, by what the guard sees at all of its places."""
    normalise, guarded = guard.children()
    scores: dict[str, list[torch.Tensor]] = {"hit": [], "whole": []}
    called: dict[str, list[bool]] = {"hit": [], "whole": []}
    for number, part in enumerate(images.split(200)):
        for name, fault in {"hit": [FAULT], "whole": []}.items():
            seen: list[torch.Tensor] = []
            hooks = [w.register_forward_hook(_scored(seen)) for w in guarded.watches.values()]  # pyright: ignore
            with guarded.held(), state_fault(guarded, *fault, seed=number) if fault else nullcontext():  # pyright: ignore
                guarded(normalise(part))
            for hook in hooks:
                hook.remove()
            worst = torch.stack(seen).amax(0)
            scores[name].append(worst)
            called[name].extend((worst > 1).tolist())
    hit, whole = (torch.cat(scores[name]) for name in ("hit", "whole"))
    mask = torch.cat([torch.ones(len(hit)), torch.zeros(len(whole))]).bool()
    shares = {f"fault_called_{name}": sum(rows) / len(rows) for name, rows in called.items()}
    return {"fault_auc": float(detection_auc(torch.cat([hit, whole]), mask)), **shares}


def _scored(seen: list[torch.Tensor]) -> Callable[..., None]:
    """Make a hook that keeps what a watched place scores each sample."""

    def hook(watch: Any, given: tuple, _out: Any) -> None:
        states, sent = given
        seen.append(watch.law.scores(states, sent))

    return hook


def guarded_reset(model: torch.nn.Module) -> None:
    for module in model.children():
        if hasattr(module, "reset"):
            module.reset()  # pyright: ignore
