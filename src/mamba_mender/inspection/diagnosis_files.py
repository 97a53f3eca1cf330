"""A diagnosis on disk, in the run folder's layout."""

import json
import os
import re
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from mamba_mender._check import UserError
from mamba_mender.inspection.binarise import binarise
from mamba_mender.inspection.diagnosis import Diagnosis, SampleGroup
from mamba_mender.inspection.external_score import ExternalScore
from mamba_mender.inspection.internal_score import InternalScore
from mamba_mender.taps import StateKey

SUMMARY = "diagnosis.json"
LETTER = {"easy": "h", "hard": "l"}  # of high and low confidence
PARTS = ("samples", "features", "masks", "scores")
SAMPLES = ("indices", "labels", "predictions", "confidence", "images", "has_mask")
PICTURES = (1, 3)  # image channels that a PNG shows: grey and colour


def save_diagnosis(diagnosis: Diagnosis, folder: str | Path) -> Path:
    """Write a diagnosis under a run folder.

    With h for easy (of high confidence) and l for hard, and train for the split's name::

        diagnosis.json                          settings and all numbers; written last
        samples/htrain/samples.safetensors      indices, labels, predictions, confidence, images, masks, has_mask
        samples/htrain/3-coat/17.png            each grey or colour image, by class and index in the split
        features/hdata/3.c.forward.safetensors  activations and gradients of one pass, for the states kept
        masks/hdata/external.safetensors        "3.c.map" (samples, rows, columns), "3.c.mask" where it is above alpha
        masks/hdata/internal.safetensors        "3.c.forward.vector" (samples, channels), "….mask" above beta
        scores/hdata/external.json              alpha, scores by state, and sweep by state and threshold
        scores/hdata/internal.json              beta, scores by state (lists over classes), and sweep

    Everything is written into a folder beside its place first, and moved there when it is complete: where the
    disk fills up, an earlier diagnosis in the folder is still there, whole.

    Args:
        diagnosis: what to write.
        folder: the run folder; made if missing.

    Returns:
        The path of diagnosis.json.

    Raises:
        OSError: the disk is full or the folder closed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".diagnosis-", dir=folder) as place:
        new, old = Path(place, "new"), Path(place, "old")
        for name, letter in LETTER.items():
            group: SampleGroup = getattr(diagnosis, name)
            _save_samples(new / "samples" / f"{letter}{diagnosis.split}", group, diagnosis.classes)
            _save_features(new / "features" / f"{letter}data", group)
            _save_masks(new / "masks" / f"{letter}data", group, diagnosis)
            _save_scores(new / "scores" / f"{letter}data", group, diagnosis)
        _write(new / SUMMARY, _json(diagnosis.to_dict()))
        _exchange(new, folder, old)
    return folder / SUMMARY


def _exchange(new: Path, folder: Path, old: Path) -> None:
    """Move what is in new to its place in a folder, and what was there to old; on an error, put everything back."""
    ours = [path for part in PARTS for path in (new / part).iterdir()]
    moves = [(folder / SUMMARY, old / SUMMARY)]  # first away and last back: no summary of other files
    for path in ours:
        own = path.relative_to(new)
        moves += [(folder / own, old / own), (path, folder / own)]
    moves.append((new / SUMMARY, folder / SUMMARY))
    with ExitStack() as undo:
        for source, aim in moves:
            if source.exists():
                aim.parent.mkdir(parents=True, exist_ok=True)
                os.rename(source, aim)
                undo.callback(os.rename, aim, source)
        undo.pop_all()  # all is in its place: nothing to put back


def load_diagnosis(folder: str | Path) -> Diagnosis:
    """Read a diagnosis written by :func:`save_diagnosis`.

    Args:
        folder: the run folder.

    Raises:
        UserError: a file is missing or damaged; the message names it.
    """
    folder = Path(folder)
    told = _read_json(folder / SUMMARY)
    settings: dict[str, Any] = {field.name: told.get(field.name) for field in fields(Diagnosis)}
    if missing := [name for name in settings if name not in told]:
        raise UserError(f"load_diagnosis: {str(folder / SUMMARY)!r} has no {missing}; run the diagnosis again.")
    settings["grid"] = tuple(told["grid"])
    for name, letter in LETTER.items():
        settings[name] = _load_group(folder, letter, told["split"])
    return Diagnosis(**settings)


def _save_samples(folder: Path, group: SampleGroup, classes: list[str]) -> None:
    folder.mkdir(parents=True)
    tensors = {name: getattr(group, name) for name in SAMPLES}
    if group.masks is not None:
        tensors["masks"] = group.masks
    _write(folder / "samples.safetensors", _pack(tensors))
    if group.images.shape[1] not in PICTURES:
        return
    for index, label, image in zip(group.indices.tolist(), group.labels.tolist(), group.images, strict=True):
        own = folder / f"{label}-{re.sub(r'[^A-Za-z0-9]+', '-', classes[label]).strip('-').lower()}"
        own.mkdir(exist_ok=True)
        pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
        Image.fromarray(pixels.numpy()).save(own / f"{index}.png")


def _save_features(folder: Path, group: SampleGroup) -> None:
    folder.mkdir(parents=True)
    for key, (state, gradient) in group.features.items():
        tensors = {"activations": state, "gradients": gradient, "indices": group.indices}
        _write(folder / f"{key}.safetensors", _pack(tensors))


def _save_masks(folder: Path, group: SampleGroup, diagnosis: Diagnosis) -> None:
    folder.mkdir(parents=True)
    external = {f"{key}.map": found for key, found in group.maps.items()}
    external |= {f"{key}.mask": binarise(found, diagnosis.alpha) for key, found in group.maps.items()}
    internal = {f"{key}.vector": found for key, found in group.vectors.items()}
    internal |= {f"{key}.mask": binarise(found, diagnosis.beta) for key, found in group.vectors.items()}
    _write(folder / "external.safetensors", _pack(external))
    _write(folder / "internal.safetensors", _pack(internal))


def _save_scores(folder: Path, group: SampleGroup, diagnosis: Diagnosis) -> None:
    folder.mkdir(parents=True)
    external = {
        "alpha": diagnosis.alpha,
        "scores": {str(key): score.to_dict() for key, score in group.external.items()},
        "sweep": {str(key): _told(sweep) for key, sweep in group.alpha_sweep.items()},
    }
    internal = {
        "beta": diagnosis.beta,
        "scores": {str(key): score.to_dict() for key, score in group.internal.items()},
        "sweep": {str(key): _told(group.beta_sweep(key)) for key in group.vectors},
    }
    _write(folder / "external.json", _json(external))
    _write(folder / "internal.json", _json(internal))


def _load_group(folder: Path, letter: str, split: str) -> SampleGroup:
    samples = _read_tensors(folder / "samples" / f"{letter}{split}" / "samples.safetensors", SAMPLES)
    masks = folder / "masks" / f"{letter}data"
    scores = folder / "scores" / f"{letter}data"
    external, internal = _read_json(scores / "external.json"), _read_json(scores / "internal.json")
    return SampleGroup(
        **{name: samples[name] for name in SAMPLES},
        masks=samples.get("masks"),
        maps=_named(_read_tensors(masks / "external.safetensors"), ".map"),
        vectors=_named(_read_tensors(masks / "internal.safetensors"), ".vector"),
        external={StateKey.parse(key): _external(told) for key, told in external["scores"].items()},
        internal={StateKey.parse(key): _internal(told) for key, told in internal["scores"].items()},
        features=_load_features(folder / "features" / f"{letter}data"),
        alpha_sweep={
            StateKey.parse(key): {float(alpha): _external(told) for alpha, told in sweep.items()}
            for key, sweep in external["sweep"].items()
        },
    )


def _load_features(folder: Path) -> dict[StateKey, tuple[Tensor, Tensor]]:
    found = {}
    for path in folder.glob("*.safetensors"):
        tensors = _read_tensors(path, ("activations", "gradients"))
        found[StateKey.parse(path.name.removesuffix(".safetensors"))] = tensors["activations"], tensors["gradients"]
    return dict(sorted(found.items()))


def _named(tensors: dict[str, Tensor], ending: str) -> dict[StateKey, Tensor]:
    found = {name.removesuffix(ending): tensor for name, tensor in tensors.items() if name.endswith(ending)}
    return dict(sorted((StateKey.parse(name), tensor) for name, tensor in found.items()))


def _external(told: dict[str, Any]) -> ExternalScore:
    return ExternalScore(**{field.name: told[field.name] for field in fields(ExternalScore)})


def _internal(told: dict[str, Any]) -> InternalScore:
    return InternalScore(**{field.name: torch.tensor(told[field.name]) for field in fields(InternalScore)})


def _told(sweep: dict[float, Any]) -> dict[str, Any]:
    return {str(threshold): score.to_dict() for threshold, score in sweep.items()}


def _pack(tensors: dict[str, Tensor]) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def _json(told: dict[str, Any]) -> bytes:
    return json.dumps(told, indent=1, allow_nan=False).encode()


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"load_diagnosis: there is no {str(path)!r}; run the diagnosis again, or check the folder.")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"load_diagnosis: {str(path)!r} is damaged ({error}); run the diagnosis again.") from error


def _read_tensors(path: Path, names: tuple[str, ...] = ()) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"load_diagnosis: there is no {str(path)!r}; run the diagnosis again, or check the folder.")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise UserError(f"load_diagnosis: {str(path)!r} is damaged ({error}); run the diagnosis again.") from error
    if missing := [name for name in names if name not in tensors]:
        raise UserError(f"load_diagnosis: {str(path)!r} has no {missing}; run the diagnosis again.")
    return tensors
