"""Let another library's model run on our kernels while it is inspected."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from mamba_mender.taps.accelerate import accelerate_model, restore_model
from mamba_mender.taps.foreign_places import is_mixer
from mamba_mender.taps.foreign_site import SCANS
from mamba_mender.taps.rebind import calls


@contextmanager
def fast_scans(model: nn.Module) -> Iterator[bool]:
    """Swap the scans of a model for ours for the length of a block, where that can be done; see ``accelerate_model``.

    Args:
        model: any model; one of this package has our scans already, and one that was accelerated before stays so.

    Yields:
        Whether scans were swapped.
    """
    mixers = [module for module in model.modules() if is_mixer(module) and calls(type(module).forward, set(SCANS))]
    swap = bool(mixers) and not any("_mamba_mender_swapped" in mixer.__dict__ for mixer in mixers)
    if swap:
        accelerate_model(model)
    try:
        yield swap
    finally:
        if swap:
            restore_model(model)
