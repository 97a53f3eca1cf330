"""Settings of a dataclass from values by name, as YAML and JSON give them."""

from dataclasses import fields
from typing import Any, TypeVar

from mamba_mender._check import UserError, nearest

T = TypeVar("T")


def named_settings(kind: type[T], settings: dict[str, Any]) -> T:
    """Make settings of values by name; what they leave out keeps its default.

    Args:
        kind: a dataclass whose fields all have a default, which says of what type a value must be.
        settings: values by name; a whole number will do for a float.

    Raises:
        UserError: a name is unknown, or a value of another type.

    Example:
        >>> from mamba_mender.repair.guard.config import GuardConfig
        >>> named_settings(GuardConfig, {"horizon": 200}).horizon
        200
    """
    known = [field.name for field in fields(kind)]  # pyright: ignore[reportArgumentType]
    if unknown := sorted(settings.keys() - set(known)):
        raise UserError(f"{kind.__name__}: no setting {unknown[0]!r}; {nearest(unknown[0], known)}.")
    for name, value in settings.items():
        wanted = type(getattr(kind, name))
        right = isinstance(value, wanted) or (wanted is float and type(value) is int)
        if not right or (wanted is not bool and isinstance(value, bool)):
            raise UserError(f"{kind.__name__}: {name} must be a {wanted.__name__}, got {value!r}.")
    return kind(**settings)
