"""A short name for everything that decides a result, so that a finished one is reused only if it fits."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mamba_mender.data import ImageData
from mamba_mender.data.content_hash import content_hash

SPLITS = ("train", "validation", "test", "clean_train", "clean_validation", "clean_test")


def fingerprint(*parts: Any) -> str:
    """Hash JSON values, data sets, models and files into 16 hexadecimal digits.

    Example:
        >>> fingerprint({"steps": 3}) == fingerprint({"steps": 3}), fingerprint(1) == fingerprint(2)
        (True, False)
    """
    digest = hashlib.sha256()
    for part in parts:
        facts = part.read_bytes() if isinstance(part, Path) else json.dumps(_facts(part), sort_keys=True).encode()
        digest.update(facts)
    return digest.hexdigest()[:16]


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy()


def _facts(part: Any) -> Any:
    """Give a part as JSON has it: data and models by their contents."""
    if isinstance(part, ImageData):
        splits = {name: getattr(part, name) for name in SPLITS}
        facts = {name: content_hash(images) for name, images in splits.items() if images is not None}
        return {"name": part.name, "classes": part.classes, "size": list(part.img_size), "mean": part.mean} | facts
    if isinstance(part, nn.Module):
        weights = {name: hashlib.sha256(_bytes(t)).hexdigest() for name, t in part.state_dict().items()}
        return {"config": getattr(part, "config", None), "weights": weights}
    return part
