"""Where taps can listen in a model, whichever library it comes from."""

from torch import nn

from mamba_mender.taps.foreign_places import foreign_places
from mamba_mender.taps.own_places import own_places
from mamba_mender.taps.places import Places


def find_places(model: nn.Module) -> Places:
    """Find the scans and states of a model.

    Args:
        model: any model.

    Returns:
        Where a tap can listen; empty for a model without a scan that is known here.
    """
    own = own_places(model)
    return own if own.sites or own.points else foreign_places(model)
