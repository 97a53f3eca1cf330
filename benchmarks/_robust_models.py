"""What the robustness benchmark compares: the base, bare and guarded, its rivals, and what is trained with a guard."""

from pathlib import Path

import torch
from _robust_base import OUT, base_of
from _robust_peers import rate_of
from torch import nn

from mamba_mender.data import ImageData, ImageSet, Normalise
from mamba_mender.repair.guard import StateGuard
from mamba_mender.repair.peers import make_peer

PEERS = ("median_filter", "norm_statistics", "tent", "eata", "sar", "t3a", "lame")
ABLATIONS = ("hebbian", "plasticity", "homeostasis", "metaplasticity")


def on_pixels(model: nn.Module, data: ImageData) -> nn.Module:
    """Let a model take pixels in [0, 1]."""
    return nn.Sequential(Normalise(data.mean, data.std), model).eval()


def guard_of(model: nn.Module, data: ImageData, path: Path) -> StateGuard:
    """Calibrate a model's guard, or read it: statistics of training images, scores of validation images."""
    if path.is_file():
        return StateGuard.load(path)
    guard = StateGuard.calibrate(model, data.train, data.validation, mean=data.mean, std=data.std)
    guard.save(path)
    return guard


def models_of(seed: int, data: ImageData, names: tuple[str, ...], out: Path = OUT) -> dict[str, nn.Module]:
    """Build models by name: none, guard, a peer, trained, trained guard, or guard without a part of it."""
    base = base_of(seed, data, out)
    made: dict[str, nn.Module] = {}
    for name in names:
        if name == "none":
            made[name] = on_pixels(base, data)
        elif name.startswith("trained"):
            made[name] = trained_of(seed, base, data, out, guarded=name == "trained guard")
        elif name.startswith("guard"):
            guard = guard_of(base, data, out / f"base-{seed}" / "guard.safetensors")
            without = name.removeprefix("guard").removeprefix(" without ")
            guard = guard.with_config(**{without: False}) if without else guard
            made[name] = on_pixels(guard(base), data)
        else:
            bare, source = on_pixels(base, data), source_of(data)
            made[name] = make_peer(name, bare, source=source, **rate_of(name, seed, bare, source, data.validation, out))
    return made


def source_of(data: ImageData) -> ImageSet:
    """Give the training images that a peer may measure something on: as many as the guard's."""
    return data.train.subset(torch.arange(6000))


def trained_of(seed: int, base: nn.Module, data: ImageData, out: Path, *, guarded: bool) -> nn.Module:
    """Train a base on with its guard, or load what that gave."""
    from _robust_training import train_on

    model, guard = train_on(seed, base, data, out / f"trained-{seed}")
    return on_pixels(guard(model) if guarded else model, data)
