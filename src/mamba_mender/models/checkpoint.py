"""Models on disk: weights as safetensors, everything else as JSON; never a pickle of ours."""

import inspect
import json
import warnings
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mamba_mender import __version__
from mamba_mender._check import UserError, nearest
from mamba_mender._files import write_atomic
from mamba_mender.models.published import PICKLES, read_published
from mamba_mender.models.vim import Vim

_ARCHITECTURES: dict[str, type[Vim]] = {"Vim": Vim}


def save_model(model: nn.Module, path: str | Path, *, extra: dict[str, Any] | None = None) -> Path:
    """Write a model as ``path`` (safetensors) with its card beside it as JSON.

    The card says how to rebuild the model. It is in the safetensors file too, and that copy is
    the one that loading reads: the JSON file is for people and other programs. Each file is
    written beside its place and then moved there, so a crash leaves the old one whole.

    Args:
        model: one of the library's models, unwrapped.
        path: where to write; ends in ".safetensors". Missing folders are made.
        extra: more of the card, JSON-able, e.g. ``{"data": {"mean": [0.3], "std": [0.3]}, "classes": ["a", "b"]}``.

    Returns:
        The path written.

    Raises:
        TypeError: the model is not one of the library's, or extra cannot be JSON.
        ValueError: the path has another suffix, or extra claims a name of the card's own.
        OSError: the disk is full or the folder is closed; what was there is still there.

    Example:
        >>> import tempfile
        >>> model = Vim(img_size=8, patch_size=4, embed_dim=16, depth=1, num_classes=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_model(model, folder + "/model.safetensors", extra={"classes": ["cat", "dog"]})
        ...     read_card(path)["classes"], load_model(path).num_classes
        (['cat', 'dog'], 2)
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"save_model: the path must end in '.safetensors', got {str(path)!r}.")
    card = _make_card(model, extra or {})
    text = json.dumps(card, indent=2)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, safetensors.torch.save(tensors, {"format": "pt", "card": text}))
    write_atomic(path.with_suffix(".json"), text.encode() + b"\n")
    return path


def load_model(path: str | Path, *, num_classes: int | None = None) -> nn.Module:
    """Read a model written by :func:`save_model`, or a published Vim checkpoint (``.pth``).

    Every weight must fit: nothing is skipped, except the head if another num_classes is asked for.
    Pickles are opened by PyTorch's restricted reader, which runs no code of theirs.

    Args:
        path: a ``.safetensors`` file of ours, or a ``.pth`` file with the weights under "model".
        num_classes: outputs wanted. If the file has another number, its head is dropped for a
            freshly drawn one, with a warning.

    Returns:
        The model, on the CPU, in training mode, in the file's dtype.

    Raises:
        UserError: the file is missing, truncated, foreign or unsafe, or its weights do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"load_model: there is no file {str(path)!r}; check the path.")
    if path.suffix in PICKLES:
        architecture, (state, config) = "Vim", read_published(path)
    else:
        card = read_card(path)
        architecture, config = card["architecture"], card["config"]
        state = {name: tensor.clone() for name, tensor in safetensors.torch.load_file(path).items()}
    if architecture not in _ARCHITECTURES:
        raise UserError(
            f"load_model: {str(path)!r} holds a {architecture!r}, which this version does not know; "
            f"{nearest(architecture, _ARCHITECTURES)}."
        )
    make = _ARCHITECTURES[architecture]
    if unknown := sorted(config.keys() - inspect.signature(make).parameters):
        raise UserError(
            f"load_model: {str(path)!r} sets {unknown[0]!r}, which {architecture} does not know; "
            f"it is damaged, or was written by a newer version: upgrade mamba-mender."
        )
    with torch.device("meta"):  # no weights are drawn only to be overwritten
        model = make(**config)
    _check_fit(path, model, state)
    model.load_state_dict(state, assign=True)
    if num_classes is not None and num_classes != model.num_classes:
        warnings.warn(
            f"load_model: {str(path)!r} was trained for {model.num_classes} classes, {num_classes} were asked for: "
            f"its head is dropped for a new one, to be trained.",
            stacklevel=2,
        )
        model.reset_classifier(num_classes)
    return model


def read_card(path: str | Path) -> dict[str, Any]:
    """Read the card of a model written by :func:`save_model`, without its weights.

    Args:
        path: the ``.safetensors`` file.

    Returns:
        architecture, config and versions, and whatever was saved as extra.

    Raises:
        UserError: the file is missing, truncated, or not written by :func:`save_model`.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"read_card: there is no file {str(path)!r}; check the path.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("card")
    except safetensors.SafetensorError as error:
        raise UserError(
            f"read_card: {str(path)!r} is truncated or is no safetensors file ({error}); copy it anew."
        ) from error
    if text is None:
        raise UserError(
            f"read_card: {str(path)!r} has no model card, so it was not written by save_model; "
            f"load its weights into a model of create_model yourself, and save that."
        )
    try:
        card = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"read_card: the model card in {str(path)!r} is damaged ({error}); copy the file anew."
        ) from error
    if absent := [name for name in ("architecture", "config") if name not in card]:
        raise UserError(f"read_card: the model card in {str(path)!r} has no {absent[0]!r}; save the model anew.")
    return card


def _make_card(model: nn.Module, extra: dict[str, Any]) -> dict[str, Any]:
    architecture = type(model).__name__
    if not isinstance(model, tuple(_ARCHITECTURES.values())):
        raise TypeError(
            f"save_model: cannot save a {architecture}, only {sorted(_ARCHITECTURES)}; "
            f"if it wraps one of these, pass what it wraps."
        )
    versions = {"mamba_mender": __version__, "torch": torch.__version__}
    card = {"architecture": architecture, "config": model.config, "versions": versions}
    if taken := card.keys() & extra.keys():
        raise ValueError(f"save_model: extra must not hold {sorted(taken)}, which the card fills itself.")
    return card | extra


def _check_fit(path: Path, model: nn.Module, state: dict[str, Tensor]) -> None:
    """Refuse weights that are not exactly the model's, and say which."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    came = {name: tuple(tensor.shape) for name, tensor in state.items()}
    faults = {
        "missing": sorted(expected.keys() - came.keys()),
        "unexpected": sorted(came.keys() - expected.keys()),
        "of another shape": [
            f"{name} {came[name]}, not {shape}" for name, shape in expected.items() if came.get(name, shape) != shape
        ],
    }
    if any(faults.values()):
        told = "; ".join(
            f"{len(names)} {fault}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
            for fault, names in faults.items()
            if names
        )
        raise UserError(f"load_model: the weights in {str(path)!r} do not fit {type(model).__name__}: {told}.")
