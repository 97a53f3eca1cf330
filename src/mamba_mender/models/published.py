"""Published Vim checkpoints, which are pickles: opened without running their code."""

import argparse
import math
import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mamba_mender._check import UserError

PICKLES = (".pth", ".pt", ".tar", ".bin")
_NEEDED = {"pos_embed": 3, "patch_embed.proj.weight": 4, "layers.0.mixer.A_log": 2, "layers.0.mixer.A_b_log": 2}
_DAMAGE = (  # what PyTorch's reader raises on files that were cut or altered, found by altering some
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    struct.error,
)


def read_published(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a published Vim checkpoint, and infer the network from its shapes.

    The shapes leave one thing open: where the grid fits 224 x 224 images at a smaller stride,
    as in the published stride-8 models, that is what it is taken for.

    Args:
        path: a file written by ``torch.save``, with the weights under "model" or bare.

    Returns:
        The weights by name, and the arguments of :class:`mamba_mender.models.Vim`.

    Raises:
        UserError: the file is truncated, asks to run code, or holds no Vim.
    """
    state = _read_weights(path)
    for name, axes in _NEEDED.items():
        if name not in state or state[name].dim() != axes:
            raise UserError(
                f"load_model: {str(path)!r} is no Vim checkpoint: it has no {name!r} of {axes} axes, "
                f"but e.g. {sorted(state)[:3]}."
            )
    embed_dim, in_chans, patch, _ = state["patch_embed.proj.weight"].shape
    has_token = "cls_token" in state
    side = math.isqrt(state["pos_embed"].shape[1] - has_token)
    if side**2 + has_token != state["pos_embed"].shape[1]:
        raise UserError(
            f"load_model: {str(path)!r} has {state['pos_embed'].shape[1]} positions, which are no square grid "
            f"{'and a class token' if has_token else ''}; only square published models can be read."
        )
    img_size, stride = _image_and_stride(side, patch)
    return state, {
        "img_size": img_size,
        "patch_size": patch,
        "stride": stride,
        "in_chans": in_chans,
        "num_classes": len(state.get("head.bias", ())),
        "embed_dim": embed_dim,
        "depth": len({name.split(".")[1] for name in state if name.startswith("layers.")}),
        "d_state": state["layers.0.mixer.A_log"].shape[1],
        "pool": "class" if has_token else "mean",
    }


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Open the pickle by PyTorch's restricted reader; argparse's settings, which hold plain values, may be in it."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"load_model: {str(path)!r} is no plain checkpoint: it is damaged, or it asks to run code "
            f"({_first_line(error)}); get it from its authors again, and do not open it otherwise."
        ) from error
    except _DAMAGE as error:
        raise UserError(
            f"load_model: {str(path)!r} is truncated or is no checkpoint ({_first_line(error)}); copy it anew."
        ) from error
    weights = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(weights, dict) or not all(isinstance(weight, Tensor) for weight in weights.values()):
        raise UserError(f"load_model: {str(path)!r} must hold weights by name under 'model', as published Vims do.")
    return {str(name).removeprefix("module."): weight for name, weight in weights.items()}


def _first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0]


def _image_and_stride(side: int, patch: int) -> tuple[int, int]:
    """Find the size of the images and the stride that give so many patches a side."""
    stride, rest = divmod(224 - patch, side - 1) if side > 1 else (patch, 0)
    if rest == 0 and 1 <= stride < patch:
        return 224, stride
    return side * patch, patch
