"""The learning rates of the peers that learn, each chosen on validation images and validation corruptions.

At the published rates, which are those for other models and longer streams, TENT, EATA and SAR hardly move. Each is
tried at several times its rate on a stream of all validation corruptions, one after another without a reset, so that a
rate must both move it and last.

    python benchmarks/_robust_peers.py SEED [SEED ...]
"""

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mamba_mender._files import write_atomic
from mamba_mender.data import ImageSet
from mamba_mender.data.corruptions import VALIDATION_CORRUPTIONS
from mamba_mender.repair.peers import PEERS, make_peer
from mamba_mender.stress import evaluate_stream
from mamba_mender.stress.cell import Perturbation
from mamba_mender.stress.pixels import perturbed_pixels

RATED = ("tent", "eata", "sar")
TIMES = (1, 4, 16, 64)  # the published rate
SEVERITY, IMAGES, BATCH = 3, 400, 200  # images of each corruption


def rate_of(
    name: str, seed: int, model: nn.Module, source: ImageSet, validation: ImageSet, out: Path
) -> dict[str, float]:
    """Choose the learning rate of a peer, or read what was chosen; no setting for a peer that has none."""
    if name not in RATED:
        return {}
    path = out / f"peer-rates-{seed}.json"
    if not path.is_file():
        stream = validation_stream(validation)
        found = {rated: choose(rated, model, source, *stream) for rated in RATED}
        write_atomic(path, json.dumps(found, indent=1).encode())
    return {"lr": json.loads(path.read_text())[name]["lr"]}


def choose(name: str, model: nn.Module, source: ImageSet, pixels: Tensor, labels: Tensor) -> dict[str, Any]:
    """Try a peer at each rate; of rates that are equally good the smallest is taken."""
    published = inspect.signature(PEERS[name]).parameters["lr"].default
    accuracies = {}
    for times in TIMES:
        peer = make_peer(name, model, source=source, lr=times * published)
        right = evaluate_stream(peer, pixels, labels, batch_size=BATCH).correct
        accuracies[times] = 100 * right.double().mean().item()
    best = max(accuracies, key=accuracies.__getitem__)
    return {"published": published, "times": best, "lr": best * published, "accuracies": accuracies}


def validation_stream(images: ImageSet) -> tuple[Tensor, Tensor]:
    """Give images of each validation corruption, one after another, and their labels."""
    parts = [
        perturbed_pixels(images, Perturbation("corruption", name, SEVERITY), IMAGES, seed=0)
        for name in VALIDATION_CORRUPTIONS
    ]
    return torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])


def main() -> None:
    """Choose for each seed, unless it was done."""
    from _robust_base import OUT, images_of
    from _robust_models import models_of

    data = images_of()
    for seed in map(int, sys.argv[1:]):
        models_of(seed, data, RATED)
        print(seed, (OUT / f"peer-rates-{seed}.json").read_text())


if __name__ == "__main__":
    main()
