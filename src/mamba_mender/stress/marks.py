"""Short names for what decides a cell, so that a saved one is used again only where it fits."""

import hashlib
import json
import re
from typing import Any

import torch
from torch import Tensor, nn

SIZE = 8  # bytes of a mark


def weights_mark(model: nn.Module) -> str:
    """Hash everything in a model's ``state_dict``.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> before = weights_mark(model)
        >>> with torch.no_grad():
        ...     weights_mark(model) == before, weights_mark(model.double()) == before
        (True, False)
    """
    digest = hashlib.blake2b(digest_size=SIZE)
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
        else:
            digest.update(_words(value).encode())
    return digest.hexdigest()


def model_mark(model: nn.Module) -> str:
    """Hash a model's weights and its settings: its ``repr``, and the numbers and words that its modules hold.

    What is named ``_…`` or ``last_…`` is no setting.

    Example:
        >>> model_mark(nn.Dropout(0.1)) == model_mark(nn.Dropout(0.2))
        False
    """
    settings = [
        [name, key, _words(value)]
        for name, module in model.named_modules()
        for key, value in sorted(vars(module).items())
        if isinstance(value, bool | int | float | str) and not key.startswith(("_", "last_")) and key != "training"
    ]
    return mark(weights_mark(model), _words(model), settings)


def mark(*parts: Any) -> str:
    """Hash JSON values.

    Example:
        >>> mark({"a": 1, "b": 2}) == mark({"b": 2, "a": 1}), mark(1) == mark(2)
        (True, False)
    """
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=SIZE).hexdigest()


def _words(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))  # where an object lies says nothing of what it is
