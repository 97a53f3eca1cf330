"""Checkpoints of a run: safetensors and JSON, complete or not there at all."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from mamba_mender._check import UserError
from mamba_mender._files import write_flushed

State = dict[str, Any]


def save_checkpoint(folder: Path, step: int, tensors: dict[str, dict[str, Tensor]], state: State) -> Path:
    """Save a checkpoint as ``folder/step-00000012/`` and drop the older ones once it is complete.

    The files are written into a folder with another name, flushed to the disk, and the folder is renamed:
    a crash or a full disk at any moment leaves the previous checkpoint as it was.

    Args:
        folder: where the checkpoints of this run live; made if needed.
        step: optimiser steps done.
        tensors: file name (no suffix) to named tensors, e.g. ``{"model": model.state_dict()}``.
        state: whatever else is needed to go on, as JSON values.

    Returns:
        The folder of the new checkpoint.

    Raises:
        OSError: it could not be written; the older checkpoint is still there.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> path = save_checkpoint(folder, 3, {"model": {"w": torch.ones(2)}}, {"step": 3})
        >>> load_checkpoint(last_checkpoint(folder))
        ({'model': {'w': tensor([1., 1.])}}, {'step': 3})
    """
    path = folder / f"step-{step:08d}"
    part = folder / f"{path.name}.tmp"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, named in tensors.items():
        write_flushed(part / f"{name}.safetensors", pack(named))
    write_flushed(part / "state.json", json.dumps(state).encode())
    if path.exists():  # the same step saved again, after a resume
        shutil.rmtree(path)
    os.replace(part, path)
    for other in folder.glob("step-*"):
        if other != path:
            shutil.rmtree(other, ignore_errors=True)
    return path


def last_checkpoint(folder: Path) -> Path | None:
    """Find the newest complete checkpoint of a run, or None."""
    complete = (path for path in folder.glob("step-*") if path.suffix != ".tmp" and (path / "state.json").exists())
    return max(complete, default=None, key=lambda path: path.name)


def load_checkpoint(path: Path) -> tuple[dict[str, dict[str, Tensor]], State]:
    """Load what :func:`save_checkpoint` saved: the tensors by file name, and the state.

    Args:
        path: a checkpoint's folder.

    Returns:
        The two arguments ``tensors`` and ``state`` of :func:`save_checkpoint`.

    Raises:
        UserError: a file is truncated or is not what its name says.
    """
    tensors = {}
    for file in sorted(path.glob("*.safetensors")):
        try:
            tensors[file.stem] = load_tensors(file.read_bytes())
        except SafetensorError as error:
            raise UserError(
                f"load_checkpoint: {file} is truncated or not a safetensors file ({error}); "
                f"delete {path} to start the run again."
            ) from error
    try:
        state = json.loads((path / "state.json").read_text())
    except json.JSONDecodeError as error:
        raise UserError(
            f"load_checkpoint: {path / 'state.json'} is not JSON ({error}); delete {path} to start the run again."
        ) from error
    return tensors, state


def pack(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Turn named tensors into the bytes of a safetensors file; tensors that share memory are written twice."""
    seen: set[int] = set()
    flat = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in seen or tensor.untyped_storage().nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        flat[name] = tensor
    return save_tensors(flat, metadata)


def split_optimiser(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], State]:
    """Take an optimiser's state apart into named tensors and JSON values.

    Args:
        optimiser: any torch optimiser whose state is tensors and plain values.

    Returns:
        Tensors named ``"3.exp_avg"`` (parameter number, entry), and the rest.
    """
    whole = optimiser.state_dict()
    tensors, plain = {}, {}
    for number, entries in whole["state"].items():
        for key, value in entries.items():
            (tensors if isinstance(value, Tensor) else plain)[f"{number}.{key}"] = value
    return tensors, {"plain": plain, "groups": whole["param_groups"]}


def join_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], rest: State) -> None:
    """Put back into an optimiser what :func:`split_optimiser` took out of one like it."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *rest["plain"].items()]:
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": rest["groups"]})
