"""Names in words for the places in a network, and which of them to show."""

from mamba_mender.inspection import Diagnosis
from mamba_mender.taps import EMBEDDING, StateKey


def name_state(key: StateKey) -> str:
    """Name a state in words.

    Example:
        >>> name_state(StateKey(3, "x", "forward")), name_state(StateKey(-1, "h"))
        ('state x of block 3 (forward scan)', 'embedding')
    """
    if key.block == EMBEDDING:
        return "embedding"
    return f"state {key.state} of block {key.block}" + (f" ({key.direction} scan)" if key.direction else "")


def channel_state(diagnosis: Diagnosis) -> StateKey:
    """Choose the state whose channels to show: x of the last block, forward, unless only others were recorded."""
    known = sorted(diagnosis.easy.vectors)
    own = [key for key in known if key.state == "x"] or known
    last = max(key.block for key in own)
    return max((key for key in own if key.block == last), key=lambda key: key.direction)  # forward after backward
