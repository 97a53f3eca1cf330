"""Corruptions of images: ImageNet-C's at five severities, noise of any level, rotation and translation."""

from mamba_mender.data.corruptions.add_noise import add_noise
from mamba_mender.data.corruptions.corrupt import corrupt
from mamba_mender.data.corruptions.corruption import Corruption
from mamba_mender.data.corruptions.length import Length
from mamba_mender.data.corruptions.rotate import rotate
from mamba_mender.data.corruptions.table import CORRUPTIONS, VALIDATION_CORRUPTIONS
from mamba_mender.data.corruptions.translate import translate

__all__ = [
    "CORRUPTIONS",
    "VALIDATION_CORRUPTIONS",
    "Corruption",
    "Length",
    "add_noise",
    "corrupt",
    "rotate",
    "translate",
]
