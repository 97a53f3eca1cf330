"""Rivals that the state guard is measured against: each a function from a model on pixels to one that adapts."""

from mamba_mender.repair.peers.eata import eata
from mamba_mender.repair.peers.lame import lame
from mamba_mender.repair.peers.make_peer import PEERS, make_peer
from mamba_mender.repair.peers.median_filter import median_filter
from mamba_mender.repair.peers.memo import memo
from mamba_mender.repair.peers.norm_statistics import norm_statistics
from mamba_mender.repair.peers.peer import Peer
from mamba_mender.repair.peers.sar import sar
from mamba_mender.repair.peers.t3a import t3a
from mamba_mender.repair.peers.tent import tent

__all__ = [
    "PEERS",
    "Peer",
    "eata",
    "lame",
    "make_peer",
    "median_filter",
    "memo",
    "norm_statistics",
    "sar",
    "t3a",
    "tent",
]
