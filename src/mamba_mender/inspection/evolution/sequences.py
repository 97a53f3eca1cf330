"""Checks on states that several analyses share."""

from collections.abc import Sequence

import torch
from torch import Tensor


def check_states(where: str, states: Sequence[Tensor], mask: Tensor | None, *, least: int = 1) -> Tensor:
    """Check states of one run, and say which tokens are real.

    Args:
        where: who asks, for the message.
        states: each (batch, tokens, channels), with one batch and one number of tokens.
        mask: True at real tokens, (batch, tokens), or None.
        least: how many states are needed.

    Returns:
        Which tokens are real, bool, (batch, tokens).

    Raises:
        ValueError: a shape is wrong, there are too few states, a value is not finite, or an input has no token.

    Example:
        >>> check_states("f", [torch.zeros(2, 3, 4)], None).all().item()
        True
    """
    if len(states) < least:
        raise ValueError(f"{where}: at least {least} states are needed, got {len(states)}; record more blocks.")
    shape = tuple(states[0].shape[:2])
    for number, state in enumerate(states):
        if state.dim() != 3 or tuple(state.shape[:2]) != shape:
            raise ValueError(
                f"{where}: states must be (batch, tokens, channels) with one batch and one number of tokens, "
                f"got {tuple(state.shape)} at {number} and {tuple(states[0].shape)} at 0."
            )
    if mask is not None and (tuple(mask.shape) != shape or mask.dtype != torch.bool):
        raise ValueError(f"{where}: mask must be bool of shape {shape}, got {mask.dtype} of {tuple(mask.shape)}.")
    real = torch.ones(shape, dtype=torch.bool, device=states[0].device) if mask is None else mask
    if not real.any(1).all():
        raise ValueError(f"{where}: every input needs a real token, but {int((~real.any(1)).sum())} have none.")
    if bad := [number for number, state in enumerate(states) if not state[real].isfinite().all()]:
        raise ValueError(f"{where}: the states at {bad} are not finite; leave out the inputs that fail.")
    return real
