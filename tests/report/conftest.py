"""A small run folder, written through the real dataclasses, with answers that the tests know."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from mamba_mender.data import load_data
from mamba_mender.inspection import diagnose
from mamba_mender.models import create_model, load_model, save_model
from mamba_mender.repair import ArmResult, MendConfig

IMAGES = 200
BASE_VALIDATION = 180
RIGHT = {  # of 200 test images: the first so many are answered rightly
    ("base", 0): 110,
    ("control", 0): 100,
    ("control", 1): 104,
    ("ext", 0): 160,
    ("ext", 1): 164,
    ("int", 0): 101,
    ("int", 1): 103,
    ("all", 0): 170,
    ("all", 1): 174,
    ("clean", 0): 190,
}


def write_arm(folder, arm, seed, right):
    """Write an arm whose first `right` answers on each split are right."""
    torch.manual_seed(seed + 7 * len(arm))
    model = create_model("vim_micro", num_classes=10, img_size=8, patch_size=2, in_chans=1, depth=2)
    path = folder / "models" / f"{arm}-{seed}.safetensors"
    save_model(model, path, extra={"data": {"name": "decoy-digits", "mean": [0.3], "std": [0.4]}})
    correct = {
        split: torch.arange(IMAGES) < right for split in ("validation", "test", "swapped_validation", "clean_test")
    }
    if arm == "base":  # the patch tells the truth on validation images
        correct |= {split: torch.arange(IMAGES) < BASE_VALIDATION for split in ("validation", "swapped_validation")}
    result = ArmResult(
        arm=arm,
        seed=seed,
        steps=20,
        seconds=3.0,
        weights={"external": 1.0} if arm == "ext" else {},
        accuracy={split: values.double().mean().item() for split, values in correct.items()},
        images=dict.fromkeys(correct, IMAGES),
        history=[{"kind": "step", "step": step, "loss": 2.0 / step, "external": 0.5} for step in (1, 2, 3)],
        model=str(path.relative_to(folder)),
    )
    result.save(folder, correct)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """Write a whole run once; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("run")
    for (arm, seed), right in RIGHT.items():
        write_arm(folder, arm, seed, right)
    data = load_data("decoy-digits")
    settings = {"split": "validation", "count": 2, "states": "xsh", "mean": [0.3], "std": [0.4], "sweep": ("last.s",)}
    before = diagnose(load_model(folder / "models" / "base-0.safetensors"), data, **settings)
    before.save(folder)
    diagnose(load_model(folder / "models" / "all-0.safetensors"), data, like=before, **settings).save(folder / "mended")
    content = {
        "config": MendConfig(seeds=(0, 1), steps=20).to_dict(),
        "model": None,
        "data": {"name": "decoy-digits", "description": data.description, "classes": data.classes, "notes": ["a note"]},
        "versions": {"mamba-mender": "0.1.0", "torch": "2.13.0"},
        "threads": 2,
    }
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def results(finished_run, tmp_path) -> Path:
    """Give a copy of the results alone: quick to read, free to change."""
    shutil.copytree(finished_run / "results", tmp_path / "results")
    return tmp_path
