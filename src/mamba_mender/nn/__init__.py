"""Modules: each holds settings and parameters and calls functions of ops."""

from mamba_mender.nn.bidirectional import BidirectionalMixer
from mamba_mender.nn.block import Block
from mamba_mender.nn.causal_conv import CausalConv1d
from mamba_mender.nn.drop_path import DropPath
from mamba_mender.nn.mixer import MambaMixer
from mamba_mender.nn.norm import RMSNorm
from mamba_mender.nn.patch_embed import PatchEmbed
from mamba_mender.nn.scan import Scan, ScanInputs, ScanTap
from mamba_mender.nn.state_point import StatePoint

__all__ = [
    "BidirectionalMixer",
    "Block",
    "CausalConv1d",
    "DropPath",
    "MambaMixer",
    "PatchEmbed",
    "RMSNorm",
    "Scan",
    "ScanInputs",
    "ScanTap",
    "StatePoint",
]
