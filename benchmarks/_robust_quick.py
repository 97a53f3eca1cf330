"""The robustness benchmark on digits: one cell of each kind."""

import torch
from _robust_models import on_pixels
from _robust_peers import choose, validation_stream
from _robust_suites import FAULT
from torch import nn

from mamba_mender.data import ImageData
from mamba_mender.models import create_model
from mamba_mender.repair.guard import StateGuard
from mamba_mender.repair.peers import make_peer
from mamba_mender.stress import Suite
from mamba_mender.stress.attacks import Attack
from mamba_mender.training import TrainConfig, train


def quick_models(data: ImageData) -> dict[str, nn.Module]:
    """Train a small Vim for a few steps, and guard it."""
    torch.manual_seed(0)
    model = create_model("vim_micro", num_classes=10, img_size=8, in_chans=1, patch_size=2)
    train(model, data, config=TrainConfig(steps=60, learning_rate=3e-3), progress=False)
    guard = StateGuard.calibrate(model, data.train, data.validation, mean=data.mean, std=data.std, count=600)
    base = on_pixels(model, data)
    stream = validation_stream(data.validation)
    rate = choose("tent", base, data.train, *stream)["lr"]
    return {"none": base, "guard": on_pixels(guard(model), data), "tent": make_peer("tent", base, lr=rate)}


def quick_suite() -> Suite:
    """Run one cell of each kind, on few images."""
    return Suite(
        noise={"gaussian": (0.3,)},
        corruptions=("fog",),
        severities=(3,),
        attacks=(
            Attack("pgd", steps=3, eps=0.1, adaptive=True),
            Attack("autoattack", steps=2, eps=0.1, adaptive=True, context=5),
        ),
        faults=(FAULT,),
        orders=("label-sorted", "drifting"),
        batch_sizes=(4,),
        count_noise=100,
        count_corruption=100,
        count_attack=50,
        count_fault=100,
        count_stream=100,
        stream_warmup=20,
    )
