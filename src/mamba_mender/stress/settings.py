"""What a stress test is, in words and hashes, as it is written beside the results."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from mamba_mender import __version__
from mamba_mender.data import ImageSet
from mamba_mender.data.content_hash import content_hash
from mamba_mender.stress.adaptive import reset_model
from mamba_mender.stress.cell import Cell, Perturbation
from mamba_mender.stress.marks import mark, model_mark
from mamba_mender.stress.suite import Suite

COUNTS = ("noise", "corruption", "shift", "attack", "fault", "stream")


def describe(
    models: Mapping[str, nn.Module],
    image_set: ImageSet,
    suite: Suite,
    shifts: Mapping[str, ImageSet],
    *,
    batch_size: int,
    seed: int,
) -> dict[str, Any]:
    """Say what is run: settings, models and images, the latter two by their hashes too. Models are reset."""
    for model in models.values():
        reset_model(model)
    attacks = {Perturbation("attack", attack.label, float(attack.eps)).key: asdict(attack) for attack in suite.attacks}
    faults = {Perturbation("fault", fault.label, float(fault.rate)).key: asdict(fault) for fault in suite.faults}
    return {
        "seed": seed,
        "batch_size": batch_size,
        "images": _images(image_set),
        "counts": {name: getattr(suite, f"count_{name}") for name in COUNTS},
        "warmup": suite.warmup,
        "stream_warmup": suite.stream_warmup,
        "imbalance": suite.imbalance,
        "limits": dict(suite.limits),
        "models": {name: _model(model) for name, model in models.items()},
        "attacks": attacks,
        "faults": faults,
        "shifts": {name: _images(images) for name, images in shifts.items()},
        "suite": suite.to_dict(),
        "cells": [cell.key for cell in suite.cells(list(models), batch_size=batch_size, seed=seed)],
        "versions": {"mamba_mender": __version__, "torch": torch.__version__},
    }


def cell_mark(cell: Cell, settings: Mapping[str, Any]) -> str:
    """Hash what decides a cell and is not in its key: the model, the images, an attack or fault, the imbalance."""
    done = cell.perturbation
    images = settings["shifts"][done.name] if done.family == "shift" else settings["images"]
    attack = settings["attacks"].get(done.key)
    source = settings["models"].get((attack or {}).get("source", ""))
    deciding = [settings["models"][cell.model], images, attack, source, settings["faults"].get(done.key)]
    return mark(cell.to_dict(), *deciding, settings["imbalance"] if cell.order == "imbalanced" else None)


def _images(image_set: ImageSet) -> dict[str, Any]:
    return {"images": len(image_set), "mark": content_hash(image_set)}


def _model(model: nn.Module) -> dict[str, Any]:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"mark": model_mark(model), "class": type(model).__name__, "parameters": parameters}
