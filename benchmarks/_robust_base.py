"""The model that the robustness benchmark is about: one fixed recipe for each seed.

python benchmarks/_robust_base.py SEED [SEED ...]
"""

import sys
from pathlib import Path

import torch

from mamba_mender.data import Augment, ImageData, load_data
from mamba_mender.models import create_model, load_model
from mamba_mender.training import TrainConfig, train

OUT = Path("runs/benchmarks/robustness")
VALIDATION = 2000
SHAPE = {"num_classes": 10, "img_size": 28, "in_chans": 1, "patch_size": 4, "embed_dim": 96, "d_state": 4}
AUGMENT = Augment(flip=0.5, shift=0.07)


def images_of() -> ImageData:
    """Load Fashion-MNIST; 2,000 of its training images are held out, and all choices are made on those."""
    return load_data("fashion-mnist", validation=VALIDATION)


def recipe(seed: int, epochs: float = 20) -> TrainConfig:
    """Give the training settings."""
    return TrainConfig(
        epochs=epochs,
        batch_size=128,
        learning_rate=3e-3,
        ema=0.998,
        label_smoothing=0.1,
        precision="bf16",
        evaluate_every=453,
        seed=seed,
    )


def base_of(seed: int, data: ImageData, out: Path = OUT, *, epochs: float = 20) -> torch.nn.Module:
    """Train the base of a seed, or load it; a training that was cut goes on."""
    folder = out / f"base-{seed}"
    if not (folder / "model.safetensors").is_file():
        torch.manual_seed(seed)
        model = create_model("vim_nano", **SHAPE)
        train(model, data, config=recipe(seed, epochs), augment=AUGMENT, out=folder, resume=True)
    return load_model(folder / "model.safetensors").eval()


if __name__ == "__main__":
    for number in sys.argv[1:]:
        base_of(int(number), images_of())
