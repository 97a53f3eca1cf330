"""Peers by name."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from mamba_mender._check import UserError, nearest
from mamba_mender.data import ImageSet
from mamba_mender.repair.peers.eata import eata
from mamba_mender.repair.peers.lame import lame
from mamba_mender.repair.peers.median_filter import median_filter
from mamba_mender.repair.peers.memo import memo
from mamba_mender.repair.peers.norm_statistics import norm_statistics
from mamba_mender.repair.peers.peer import Peer
from mamba_mender.repair.peers.sar import sar
from mamba_mender.repair.peers.t3a import t3a
from mamba_mender.repair.peers.tent import tent

PEERS: dict[str, Callable[..., Peer]] = {
    peer.__name__: peer for peer in (median_filter, norm_statistics, tent, eata, sar, t3a, lame, memo)
}


def make_peer(name: str, model: nn.Module, *, source: ImageSet | None = None, **settings: Any) -> Peer:
    """Build a peer by name, calibrated on source images if it needs them.

    Args:
        name: one of ``PEERS``.
        model: takes pixels in [0, 1], gives logits; copied, not changed.
        source: training images, for the peers that measure something on them: norm_statistics and eata.
        settings: any other argument of that peer.

    Raises:
        UserError: no peer has that name, the peer no such setting, or what it needs is missing.

    Example:
        >>> make_peer("median_filter", nn.Flatten(), size=5).size
        5
    """
    if name not in PEERS:
        raise UserError(f"make_peer: no peer {name!r}; {nearest(name, PEERS)}.")
    build = PEERS[name]
    known = inspect.signature(build).parameters.keys() - {"model", "source"}
    if unknown := sorted(settings.keys() - known):
        raise UserError(f"make_peer: {name} has no setting {unknown[0]!r}; {nearest(unknown[0], known)}.")
    if "source" in inspect.signature(build).parameters:
        settings["source"] = source
    return build(model, **settings)
