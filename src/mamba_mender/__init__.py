"""Build, see inside, stress and mend selective state-space (Mamba) models.

The public names are loaded when they are first used, so that ``import mamba_mender`` does not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mamba_mender.data import list_data, load_data
    from mamba_mender.inspection import diagnose, inspect_model
    from mamba_mender.models import create_model, list_models, load_model, save_model
    from mamba_mender.repair import MendConfig, StateGuard, mend
    from mamba_mender.report import plot
    from mamba_mender.stress import stress_test
    from mamba_mender.taps import Edit, ScanRecord, accelerate_model, edit, record
    from mamba_mender.training import TrainConfig, evaluate, train

__version__ = "0.1.0"

__all__ = [
    "Edit",
    "MendConfig",
    "ScanRecord",
    "StateGuard",
    "TrainConfig",
    "accelerate_model",
    "create_model",
    "diagnose",
    "edit",
    "evaluate",
    "inspect_model",
    "list_data",
    "list_models",
    "load_data",
    "load_model",
    "mend",
    "plot",
    "record",
    "save_model",
    "stress_test",
    "train",
]

_HOMES = {
    "data": ["list_data", "load_data"],
    "inspection": ["diagnose", "inspect_model"],
    "models": ["create_model", "list_models", "load_model", "save_model"],
    "nn": [],
    "ops": [],
    "repair": ["MendConfig", "StateGuard", "mend"],
    "report": ["plot"],
    "stress": ["stress_test"],
    "taps": ["Edit", "ScanRecord", "accelerate_model", "edit", "record"],
    "training": ["TrainConfig", "evaluate", "train"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return importlib.import_module(f"mamba_mender.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(f"mamba_mender.{_HOME[name]}"), name)
        globals()[name] = value  # the next look-up does not come here
        return value
    raise AttributeError(f"module 'mamba_mender' has no attribute {name!r}; it has {__all__}.")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_HOMES])
