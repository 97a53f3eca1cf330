"""From what a person writes to the states of a model: "embedding", "0.c", "*.s", "last.x.forward"."""

from collections.abc import Iterable

from torch import nn

from mamba_mender._check import UserError, nearest
from mamba_mender.taps.find_places import find_places
from mamba_mender.taps.state_key import EMBEDDING, STATES, StateKey


def find_states(model: nn.Module, patterns: Iterable[str] | None = None) -> list[StateKey]:
    """Find the states of a model that patterns name.

    A pattern is "embedding" or ``block.state``, with an optional ``.direction``: the block is a
    number, "last" or "*", the state a letter or "*"; without a direction both are meant.

    Args:
        model: a model of this package.
        patterns: what to find; None finds every state.

    Returns:
        The states, block by block, each once.

    Raises:
        UserError: a pattern names no state of this model, or the model has none.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=2, img_size=8, in_chans=1)
        >>> [str(key) for key in find_states(model, ["last.c", "embedding"])]
        ['embedding', '3.c.forward', '3.c.backward']
    """
    known = _all_states(model)
    if patterns is None:
        return known
    last = max(key.block for key in known)
    chosen: set[StateKey] = set()
    for pattern in patterns:
        found = {key for key in known if _matches(pattern, key, last)}
        if not found:
            raise UserError(f"find_states: no state {pattern!r} in this model; {nearest(pattern, map(str, known))}.")
        chosen |= found
    return [key for key in known if key in chosen]


def _all_states(model: nn.Module) -> list[StateKey]:
    keys = list(find_places(model).points)
    if not keys:
        raise UserError(f"find_states: {type(model).__name__} has no states; pass a model of mamba_mender.")
    return sorted(keys, key=lambda key: (key.block, STATES.index(key.state), key.direction != "forward"))


def _matches(pattern: str, key: StateKey, last: int) -> bool:
    if key.block == EMBEDDING:
        return pattern == "embedding"
    block, _, rest = pattern.partition(".")
    state, _, direction = rest.partition(".")
    right_block = block in ("*", str(key.block)) or (block == "last" and key.block == last)
    return right_block and state in ("*", key.state) and direction in ("", key.direction)
