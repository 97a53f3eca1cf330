"""Records of several inputs put together into one of a batch."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from mamba_mender.taps import ScanRecord

BATCHED = ("u", "delta", "B", "C", "z", "initial_state", "y", "last_state", "mask")


def stack_scans(scans: Sequence[ScanRecord]) -> ScanRecord:
    """Put records of one scan into one record of a batch; the convolution is left out.

    Args:
        scans: records of the same scan for inputs of one length, at least one.

    Example:
        >>> stack_scans([])
        Traceback (most recent call last):
        ...
        ValueError: stack_scans: there is no record; give at least one.
    """
    if not scans:
        raise ValueError("stack_scans: there is no record; give at least one.")
    first = scans[0]
    joined = {
        name: torch.cat([getattr(scan, name) for scan in scans])
        for name in BATCHED
        if all(getattr(scan, name) is not None for scan in scans)
    }
    return replace(first, conv=None, **joined)
