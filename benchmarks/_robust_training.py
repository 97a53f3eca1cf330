"""Bases that are trained on with their guard."""

import json
from copy import deepcopy
from pathlib import Path

from _robust_base import AUGMENT
from torch import nn

from mamba_mender._files import write_atomic
from mamba_mender.data import ImageData, Normalise
from mamba_mender.models import load_model
from mamba_mender.repair.guard import StateGuard
from mamba_mender.repair.guard_training import mix_weights, train_guarded
from mamba_mender.training import TrainConfig, evaluate
from mamba_mender.training.train import save_weights

EPOCHS = 4
SHARES = (1.0, 0.85, 0.7, 0.5, 0.35)  # of the trained weights; the first that keeps clean validation images is taken
# Of the clean accuracy on validation images, at most: a point on test images, with room for what the choice flatters.
# The same images also say which epoch is kept, and calibrate the guard.
LOST = 0.0075


def train_on(seed: int, base: nn.Module, data: ImageData, folder: Path) -> tuple[nn.Module, StateGuard]:
    """Train a base on with its guard, go part of the way back, and calibrate; or load what that gave."""
    weights, guard = folder / "model.safetensors", folder / "guard.safetensors"
    if not guard.is_file():
        whole = trained_whole(seed, base, data, folder / "whole")
        model, found = go_back(base, whole, data)
        write_atomic(folder / "share.json", json.dumps(found, indent=1).encode())
        save_weights(model, data, weights)
        StateGuard.calibrate(model, data.train, data.validation, mean=data.mean, std=data.std).save(guard)
    return load_model(weights).eval(), StateGuard.load(guard)


def trained_whole(seed: int, base: nn.Module, data: ImageData, folder: Path) -> nn.Module:
    """Train a base on with its guard; a training that was cut goes on."""
    if not (folder / "guard.safetensors").is_file():
        config = TrainConfig(
            epochs=EPOCHS,
            batch_size=128,
            learning_rate=1e-3,
            ema=0.998,
            label_smoothing=0.1,
            evaluate_every=453,
            seed=seed,
        )
        train_guarded(deepcopy(base), data, config=config, out=folder, resume=True, augment=AUGMENT)
    return load_model(folder / "model.safetensors").eval()


def go_back(base: nn.Module, whole: nn.Module, data: ImageData) -> tuple[nn.Module, dict[str, float]]:
    """Take the largest share of the trained weights that keeps the accuracy on clean validation images.

    The smallest is taken where none does; "clean" and "least" say so.
    """
    normalise = Normalise(data.mean, data.std)
    least = evaluate(base, data.validation, normalise=normalise).accuracy - LOST

    def mixed(share: float) -> tuple[nn.Module, dict[str, float]]:
        model = deepcopy(whole)
        mix_weights(model, base.state_dict(), share)
        clean = evaluate(model, data.validation, normalise=normalise).accuracy
        return model.eval(), {"share": share, "clean": clean, "least": least}

    for share in SHARES[:-1]:
        model, found = mixed(share)
        if found["clean"] >= least:
            return model, found
    return mixed(SHARES[-1])
