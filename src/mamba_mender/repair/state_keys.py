"""From what a person writes to the states of a model: "embedding", "0.c", "*.s", "last.x"."""

from collections.abc import Iterable

from torch import nn

from mamba_mender._check import UserError, nearest
from mamba_mender.nn.scan import Scan
from mamba_mender.nn.state_point import StatePoint
from mamba_mender.taps import EMBEDDING, StateKey


def find_states(model: nn.Module, patterns: Iterable[str]) -> tuple[StateKey, ...]:
    """Find the states of a model that patterns name.

    A pattern is "embedding" or ``block.state`` with an optional ``.direction``: the block is a
    number, "last" or "*" (all blocks); without a direction both are meant.

    Args:
        model: a model of this package.
        patterns: what to find.

    Returns:
        The states in the model's order, each once.

    Raises:
        UserError: a pattern names no state of this model.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=2, img_size=8, in_chans=1)
        >>> [str(key) for key in find_states(model, ["last.c", "embedding"])]
        ['embedding', '3.c.forward', '3.c.backward']
    """
    known = _states_of(model)
    last = max(key.block for key in known)
    chosen: set[StateKey] = set()
    for pattern in patterns:
        found = {key for key in known if _matches(pattern, key, last)}
        if not found:
            raise UserError(f"find_states: no state {pattern!r} in this model; {nearest(pattern, map(str, known))}.")
        chosen |= found
    return tuple(key for key in known if key in chosen)


def _states_of(model: nn.Module) -> list[StateKey]:
    """List the states that :func:`mamba_mender.taps.record` would see."""
    keys = []
    for name, module in model.named_modules():
        block = next((int(part) for part in name.split(".") if part.isdecimal()), EMBEDDING)
        if isinstance(module, Scan):
            keys.append(StateKey(block, "s", "backward" if module.reverse else "forward"))
        elif isinstance(module, StatePoint):
            keys.append(StateKey(block, module.state, module.direction))
    if not keys:
        raise UserError(f"find_states: {type(model).__name__} has no state to constrain; pass a model of mamba_mender.")
    order = {state: number for number, state in enumerate("xcszyh")}
    return sorted(keys, key=lambda key: (key.block, order[key.state], key.direction != "forward"))


def _matches(pattern: str, key: StateKey, last: int) -> bool:
    if key.block == EMBEDDING:
        return pattern == "embedding"
    block, _, rest = pattern.partition(".")
    state, _, direction = rest.partition(".")
    right_block = block in ("*", str(key.block)) or (block == "last" and key.block == last)
    return right_block and state == key.state and direction in ("", key.direction)
