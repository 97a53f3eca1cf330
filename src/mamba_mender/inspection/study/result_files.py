"""Results of any analysis on disk: tensors as safetensors, everything else as JSON, and back."""

import importlib
import json
import math
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from mamba_mender._check import UserError
from mamba_mender._files import write_atomic
from mamba_mender.inspection.result import Result
from mamba_mender.taps import StateKey

PACKAGE = "mamba_mender.inspection."  # the results that a file may name; nothing else is imported for it
LONG = 1 << 16  # numbers: longer tensors of float64 are kept as float32
MARK = "$"  # the key of a JSON object that stands for something else


def save_results(path: Path, results: dict[str, Any], about: dict[str, Any] | None = None) -> None:
    """Write results as ``path.safetensors`` and ``path.json``, the JSON last: where it is, both are complete.

    Each file is written beside its place and moved there. A tensor is named by where it stands,
    e.g. "layers.0.mixer.scan/half_life:median"; the JSON names the class of each result, so that
    :func:`load_results` gives the same objects; only tensors of more than 65,536 float64 come back as float32.

    Args:
        path: without a suffix; missing folders are made.
        results: name to a :class:`mamba_mender.inspection.result.Result`, or to tensors, numbers, texts,
            lists, tuples and dicts of these.
        about: JSON values kept beside the results, e.g. {"seconds": 0.4}.

    Raises:
        TypeError: a result holds something that JSON and safetensors cannot.
        OSError: the disk is full or the folder closed.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "attention"
        >>> save_results(path, {"row": torch.ones(2)}, {"seconds": 1.5})
        >>> load_results(path), read_about(path)
        ({'row': tensor([1., 1.])}, {'seconds': 1.5})
    """
    tensors: dict[str, Tensor] = {}
    told = {name: _encode(value, name, tensors) for name, value in results.items()}
    content = {"about": about or {}, "results": told}
    text = json.dumps(content, indent=1, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    if tensors:
        write_atomic(path.with_name(path.name + ".safetensors"), safetensors.torch.save(tensors))
    write_atomic(path.with_name(path.name + ".json"), text.encode())


def load_results(path: Path) -> dict[str, Any]:
    """Read what :func:`save_results` wrote.

    Args:
        path: without a suffix.

    Raises:
        UserError: a file is missing or damaged, or names a class that this version does not have.
    """
    content = _read(path)
    file = path.with_name(path.name + ".safetensors")
    tensors: dict[str, Tensor] = {}
    if file.is_file():
        try:
            tensors = safetensors.torch.load(file.read_bytes())
        except SafetensorError as error:
            raise UserError(f"inspect: {str(file)!r} is damaged ({error}); delete it and inspect again.") from error
    try:
        return {name: _decode(value, tensors) for name, value in content["results"].items()}
    except (KeyError, TypeError, AttributeError, ImportError) as error:
        raise UserError(
            f"inspect: {str(path)!r} holds a result that this version cannot read ({error}); delete it and inspect "
            "again."
        ) from error


def read_about(path: Path) -> dict[str, Any]:
    """Read what was kept beside results, without the results.

    Raises:
        UserError: the file is missing or damaged.
    """
    return _read(path)["about"]


def _read(path: Path) -> dict[str, Any]:
    file = path.with_name(path.name + ".json")
    if not file.is_file():
        raise UserError(f"inspect: there is no {str(file)!r}; run the inspection again, or check the folder.")
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise UserError(f"inspect: {str(file)!r} is damaged ({error}); delete it and inspect again.") from error
    if not isinstance(content, dict) or not {"about", "results"} <= content.keys():
        raise UserError(f"inspect: {str(file)!r} is not written by an inspection; check the folder.")
    return content


def _encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Turn a value into JSON, and put its tensors aside under names that say where they stand."""
    if isinstance(value, Tensor):
        long = value.dtype == torch.float64 and value.numel() > LONG
        value = value.detach().cpu().to(torch.float32 if long else value.dtype)
        tensors[name] = value.clone().contiguous()  # a view would write what it is a view of
        return {MARK: "tensor", "name": name, "shape": list(value.shape)}
    if isinstance(value, StateKey):
        return {MARK: "state", "key": str(value)}
    if isinstance(value, Result):
        if not is_dataclass(value):
            raise TypeError(f"save_results: {name} is a {type(value).__name__}, which is no dataclass.")
        own = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        kind = f"{type(value).__module__}:{type(value).__qualname__}"
        return {MARK: "result", "type": kind, "fields": {n: _encode(v, f"{name}:{n}", tensors) for n, v in own.items()}}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and MARK not in value:
            return {key: _encode(inner, f"{name}:{key}", tensors) for key, inner in value.items()}
        pairs = [[_encode(k, "", {}), _encode(v, f"{name}:{k}", tensors)] for k, v in value.items()]
        return {MARK: "dict", "pairs": pairs}
    if isinstance(value, tuple | list):
        items = [_encode(inner, f"{name}:{number}", tensors) for number, inner in enumerate(value)]
        return {MARK: "tuple", "items": items} if isinstance(value, tuple) else items
    if isinstance(value, float) and not math.isfinite(value):
        return {MARK: "float", "value": str(value)}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"save_results: {name} is a {type(value).__name__}; a result holds tensors and plain values only.")


def _decode(told: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(told, list):
        return [_decode(inner, tensors) for inner in told]
    if not isinstance(told, dict):
        return told
    match told.get(MARK):
        case None:
            return {key: _decode(inner, tensors) for key, inner in told.items()}
        case "tensor":
            return tensors[told["name"]]
        case "state":
            return StateKey.parse(told["key"])
        case "float":
            return float(told["value"])
        case "tuple":
            return tuple(_decode(inner, tensors) for inner in told["items"])
        case "dict":
            return {_decode(key, tensors): _decode(inner, tensors) for key, inner in told["pairs"]}
        case "result":
            return _class(told["type"])(**{name: _decode(v, tensors) for name, v in told["fields"].items()})
        case other:
            raise KeyError(f"unknown mark {other!r}")


def _class(kind: str) -> type[Result]:
    """Find the class of a result by its name, within this package only."""
    module, _, name = kind.partition(":")
    if not module.startswith(PACKAGE):
        raise KeyError(f"{kind!r} is no result of this package")
    found = getattr(importlib.import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, Result)):
        raise KeyError(f"{kind!r} is no result")
    return found
