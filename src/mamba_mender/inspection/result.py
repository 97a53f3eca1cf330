"""What every analysis returns: a small frozen dataclass of tensors."""

from dataclasses import fields, is_dataclass
from typing import Any


class Result:
    """Give a frozen dataclass ``to_dict``.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Span(Result):
        ...     first: int
        >>> Span(3).to_dict()
        {'first': 3}
    """

    def to_dict(self) -> dict[str, Any]:
        """List the fields by name, tensors as they are; a result inside a result becomes a dict too."""
        if not is_dataclass(self):
            raise TypeError(f"{type(self).__name__}.to_dict: a result must be a dataclass.")
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


def _plain(value: Any) -> Any:
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
