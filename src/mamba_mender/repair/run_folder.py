"""A run folder's ``config.json``: what the run is, so that nothing of another run is mixed in."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mamba_mender import __version__
from mamba_mender._check import UserError
from mamba_mender._files import write_atomic
from mamba_mender.data import ImageData
from mamba_mender.repair.fingerprint import fingerprint
from mamba_mender.repair.mend_config import MendConfig

FREE = ("arms", "seeds", "clean_bound", "notes", "description")  # may differ: they add to a run, or only describe it


def open_run(
    where: str,
    out: Path,
    model: nn.Module | str | Path | None,
    data: ImageData,
    config: MendConfig,
    *,
    resume: bool,
    source: dict[str, Any] | None = None,
) -> None:
    """Write what the run is, or check that the folder holds the same one: settings, images, masks and model.

    Args:
        where: the function that is called, for messages.
        out: the run folder.
        model: what is mended, or None where the base is trained.
        data: the data set.
        config: settings; those in `FREE` may change.
        resume: go on with a run that the folder holds.
        source: what the data were loaded with, written down as it is.

    Raises:
        UserError: the folder holds a run already, or another one; or the model's file is not there.
    """
    path = out / "config.json"
    content = _content(model, data, config) | ({} if source is None else {"source": source})
    if path.exists():
        if not resume:
            raise UserError(f"{where}: {out} holds a run already; give another folder, or go on with it (--resume).")
        if changed := _changes(json.loads(path.read_text()), content):
            raise UserError(f"{where}: {out} was begun with other settings: {'; '.join(changed)}; give another folder.")
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(content, indent=1).encode())


def model_mark(model: nn.Module | str | Path | None) -> str | None:
    """Hash a model's weights, or the file that has them; None without a model.

    Raises:
        UserError: the file is not there.
    """
    if model is None or isinstance(model, nn.Module):
        return None if model is None else fingerprint(model)
    if not Path(model).is_file():
        raise UserError(f"mend: no model {str(model)!r}; give the path of a .safetensors or .pth file.")
    return fingerprint(Path(model))


def _content(model: nn.Module | str | Path | None, data: ImageData, config: MendConfig) -> dict[str, Any]:
    return {
        "config": config.to_dict(),
        "model": None if model is None else "given" if isinstance(model, nn.Module) else str(model),
        "model_content": model_mark(model),
        "data": {
            "name": data.name,
            "description": data.description,
            "classes": data.classes,
            "images": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
            "masks": {"train": int(data.train.has_mask.sum()), "validation": int(data.validation.has_mask.sum())},
            "img_size": list(data.img_size),
            "channels": data.channels,
            "content": fingerprint(data),
            "notes": list(data.notes),
        },
        "versions": {"mamba_mender": __version__, "torch": torch.__version__},
        "threads": torch.get_num_threads(),
    }


def _changes(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """List what differs."""
    changed = []
    for part in ("config", "data"):
        old, new = earlier.get(part, {}), json.loads(json.dumps(now[part]))
        kept = [k for k in new if k not in (*FREE, "content") and old.get(k) != new[k]]
        changed += [f"{k} was {old.get(k)}, is {new[k]}" for k in kept]
    if earlier.get("data", {}).get("content") != now["data"]["content"]:
        changed.append("the images or their masks are other ones")
    if earlier.get("model_content") != now["model_content"]:
        changed.append(f"the model was another one (then {earlier.get('model')}, now {now['model']})")
    return changed
