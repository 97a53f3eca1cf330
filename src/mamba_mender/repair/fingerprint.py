"""A short name for everything that decides a result, so that a finished one is reused only if it fits."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from mamba_mender.data import ImageData, ImageSet


def fingerprint(*parts: Any) -> str:
    """Hash JSON values, data sets and files into 16 hexadecimal digits.

    Example:
        >>> fingerprint({"steps": 3}) == fingerprint({"steps": 3}), fingerprint(1) == fingerprint(2)
        (True, False)
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            digest.update(part.read_bytes())
        else:
            digest.update(json.dumps(_facts(part) if isinstance(part, ImageData) else part, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _facts(data: ImageData) -> dict[str, Any]:
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    facts = {name: [len(part), int(part.has_mask.sum()), _order(part)] for name, part in splits.items()}
    return {"name": data.name, "classes": data.classes, "img_size": list(data.img_size), "mean": data.mean} | facts


def _order(part: ImageSet) -> int:
    """Sum labels by place, which another split or order changes."""
    places = torch.arange(1, len(part) + 1)
    return int((places * (1 + part.labels + part.has_mask.long())).sum())
