"""What no cell of a stress test tells: outputs equal to the bit, faults found, and whether attacks are masked."""

import json
from pathlib import Path
from typing import Any

import torch
from _robust_models import models_of
from _robust_suites import EPS, FAULT

from mamba_mender._files import write_atomic
from mamba_mender.data import ImageData
from mamba_mender.stress.attacks import masking_checks
from mamba_mender.stress.faults import detection_auc, state_fault

IMAGES, CHECKED = 2000, 100


def extras_of(seed: int, data: ImageData, out: Path) -> dict[str, Any]:
    """Measure a seed, or read what was measured."""
    path = out / f"extras-{seed}.json"
    if path.is_file():
        return json.loads(path.read_text())
    models = models_of(seed, data, ("none", "guard"), out)
    base, guard = models["none"], models["guard"]
    images = data.test.batch(torch.arange(len(data.test))).images
    found = {"seed": seed} | clean_outputs(base, guard, images) | faults_found(base, guard, images[:IMAGES])
    chosen = data.test.batch(torch.arange(CHECKED))
    found["masking"] = []
    for name, model in models.items():
        guarded_reset(model)
        report = masking_checks(model, chosen.images, chosen.labels, eps=EPS)
        rows = [{"check": c.name, "passed": c.passed, "sentence": c.sentence} for c in report.checks]
        found["masking"].append({"seed": seed, "model": name, "trusted": report.trusted, "checks": rows})
    write_atomic(path, json.dumps(found, indent=1).encode())
    return found


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
def faults_found(base: torch.nn.Module, guard: torch.nn.Module, images: torch.Tensor) -> dict[str, float]:
    """Tell samples with faults in one layer from samples without by the health of the guard."""
    guarded_reset(guard)
    scores = {"hit": [], "whole": []}
    for number, part in enumerate(images.split(200)):
        with state_fault(guard, FAULT, seed=number):
            guard(part)
        scores["hit"].append(sick_of(guard))
        guard(part)
        scores["whole"].append(sick_of(guard))
    hit, whole = (torch.cat(scores[name]) for name in ("hit", "whole"))
    mask = torch.cat([torch.ones(len(hit)), torch.zeros(len(whole))]).bool()
    return {"fault_auc": float(detection_auc(torch.cat([hit, whole]), mask))}


def sick_of(guard: torch.nn.Module) -> torch.Tensor:
    """Give the largest number of faulty entries that any site found in each sample, and below 1 how unhealthy it is."""
    reports = guard[1].last.reports.values()  # pyright: ignore
    faults = torch.stack([report.faults for report in reports]).amax(0)
    return faults + (1 - guard[1].last_health) / 2  # pyright: ignore


def guarded_reset(model: torch.nn.Module) -> None:
    for module in model.children():
        if hasattr(module, "reset"):
            module.reset()  # pyright: ignore
