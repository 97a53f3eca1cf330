"""Bad images among healthy ones, and the first of a stream: where a guard of streams has little to go by."""

from pathlib import Path
from typing import Any

import torch
from _robust_extras import guarded_reset, kept
from _robust_models import models_of
from torch import Tensor, nn

from mamba_mender.data import ImageData, add_noise

SHARES = (0.01, 0.02, 0.05, 0.1)  # of the images that are noisy
STREAM, BATCH, WARMUP = 4000, 50, 200
STARTS, FIRST = 20, (5, 10, 20, 50)
LEVEL = 0.3


def mixed_of(seed: int, data: ImageData, out: Path) -> dict[str, Any]:
    """Measure a seed's guard on noisy images among clean ones, and on the first images of noisy streams; or read it."""
    return kept(out / f"mixed-{seed}.json", lambda: _measured(seed, data, out))


def _measured(seed: int, data: ImageData, out: Path) -> dict[str, Any]:
    models = models_of(seed, data, ("none", "guard"), out)
    return {"seed": seed, "among": [_among(models, data, share) for share in SHARES], "first": _first(models, data)}


def _among(models: dict[str, nn.Module], data: ImageData, share: float) -> dict[str, Any]:
    """Judge the noisy images of a stream that is clean but for a share of them."""
    generator = torch.Generator().manual_seed(0)
    chosen = data.test.batch(torch.arange(STREAM))
    noisy = torch.rand(STREAM, generator=generator) < share
    shown = chosen.images.clone()
    shown[noisy] = add_noise(chosen.images[noisy], "gaussian", LEVEL, generator=generator)
    judged = noisy & (torch.arange(STREAM) >= WARMUP)
    right = {name: _right(model, shown, chosen.labels, BATCH)[judged] for name, model in models.items()}
    return {"share": share, "images": int(judged.sum())} | {name: float(r.double().mean()) for name, r in right.items()}


def _first(models: dict[str, nn.Module], data: ImageData) -> list[dict[str, Any]]:
    """Judge the first images of noisy streams that come one by one."""
    most = max(FIRST)
    chosen = data.test.batch(torch.arange(STARTS * most))
    shown = add_noise(chosen.images, "gaussian", LEVEL, generator=torch.Generator().manual_seed(0))
    parts = list(zip(shown.split(most), chosen.labels.split(most), strict=True))
    right = {name: torch.stack([_right(model, *part, 1) for part in parts]) for name, model in models.items()}
    return [
        {"first": n, "images": STARTS * n} | {name: float(r[:, :n].double().mean()) for name, r in right.items()}
        for n in FIRST
    ]


@torch.no_grad()
def _right(model: nn.Module, images: Tensor, labels: Tensor, size: int) -> Tensor:
    """Show a stream from its beginning, and say which images are told right, bool, (images,)."""
    guarded_reset(model)
    told = torch.cat([model(part).argmax(-1) for part in images.split(size)])
    return told == labels
