"""Train a little in one of several processes, as `torchrun` starts them, and save the weights and the history."""

import json
import os
import sys
from pathlib import Path

import torch
from torch import nn

from mamba_mender.data import ImageData, MemoryImages
from mamba_mender.training import TrainConfig, train


def main(batch_size: int, out: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (70, 1, 4, 4), generator=generator, dtype=torch.uint8)
    part = MemoryImages(images, torch.arange(70) % 3)
    names = {"name": "noise", "description": "noise", "classes": ["a", "b", "c"]}
    data = ImageData(
        train=part, validation=part, test=part, channels=1, img_size=(4, 4), mean=[0.5], std=[0.3], **names
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    config = TrainConfig(steps=7, batch_size=batch_size, log_every=1, evaluate_every=7)
    metrics = {"place": lambda model, found: (found.labels * torch.arange(70)).sum()}  # that images are in their order
    result = train(model, data, config=config, out=out, augment=only_whole_batches, metrics=metrics)
    if os.environ.get("RANK", "0") == "0":
        (out / "history.json").write_text(json.dumps(result.history))


def only_whole_batches(batch, generator):
    assert len(batch) in (8, 16)
    return batch


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
