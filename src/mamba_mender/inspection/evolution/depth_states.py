"""The states of a run in the order of depth."""

from torch import Tensor

from mamba_mender._check import nearest
from mamba_mender.taps import Run


def depth_states(run: Run, state: str = "h", direction: str = "") -> list[Tensor]:
    """List a state of all blocks, from the first block to the last.

    The list of h starts with the embedding where it was recorded, so that its l-th pair is what block l changed.

    Args:
        run: what ``record`` saw.
        state: "x", "c", "s", "z", "y" or "h".
        direction: "forward" or "backward" for a state of one scan of a bidirectional block.

    Returns:
        The states, each (batch, tokens, channels), detached.

    Raises:
        ValueError: no such state was recorded.

    Example:
        >>> import torch
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8), "h", scans=False) as run:
        ...     logits = model(torch.zeros(2, 3, 8, 8))
        >>> len(depth_states(run)) == len(model.layers) + 1
        True
    """
    found = sorted(key for key in run.states if key.state == state and key.direction == direction)
    if not found:
        known = sorted({f"{key.state}.{key.direction}".rstrip(".") for key in run.states})
        wanted = f"{state}.{direction}".rstrip(".")
        raise ValueError(f"depth_states: no state {wanted!r} was recorded; {nearest(wanted, known)}.")
    states = run.states
    return [states[key].detach() for key in found]
