"""Bases that are trained on with their guard, and what a training step with it costs."""

from copy import deepcopy
from pathlib import Path

from _robust_base import AUGMENT
from torch import nn

from mamba_mender.data import ImageData
from mamba_mender.models import load_model
from mamba_mender.repair.guard import StateGuard
from mamba_mender.repair.guard_training import GuardTraining, train_guarded
from mamba_mender.training import TrainConfig

EPOCHS = 2
SHARE = 0.5  # of the trained weights: of 0.5, 0.7, 0.85 and 1 the one that keeps clean validation images within a point


def train_on(seed: int, base: nn.Module, data: ImageData, folder: Path) -> tuple[nn.Module, StateGuard]:
    """Train a base on with its guard, or load what that gave."""
    weights, guard = folder / "model.safetensors", folder / "guard.safetensors"
    if not guard.is_file():
        config = TrainConfig(
            epochs=EPOCHS,
            batch_size=128,
            learning_rate=1e-3,
            ema=0.998,
            label_smoothing=0.1,
            evaluate_every=453,
            seed=seed,
        )
        settings = GuardTraining(trained_share=SHARE)
        train_guarded(
            deepcopy(base), data, guard_training=settings, config=config, out=folder, resume=True, augment=AUGMENT
        )
    return load_model(weights).eval(), StateGuard.load(guard)
