"""Images with labels and foreground masks: reading, splitting, decoys, augmentation, corruptions, batches."""

from mamba_mender.data.augment import Augment, augment_preset
from mamba_mender.data.batch import Batch
from mamba_mender.data.corruptions import (
    CORRUPTIONS,
    VALIDATION_CORRUPTIONS,
    Corruption,
    Length,
    add_noise,
    corrupt,
    rotate,
    translate,
)
from mamba_mender.data.decoy import plant_decoy
from mamba_mender.data.image_data import ImageData
from mamba_mender.data.image_set import ImageSet
from mamba_mender.data.load import list_data, load_data
from mamba_mender.data.loader import make_loader
from mamba_mender.data.memory_images import MemoryImages
from mamba_mender.data.normalise import Normalise

__all__ = [
    "CORRUPTIONS",
    "VALIDATION_CORRUPTIONS",
    "Augment",
    "Batch",
    "Corruption",
    "ImageData",
    "ImageSet",
    "Length",
    "MemoryImages",
    "Normalise",
    "add_noise",
    "augment_preset",
    "corrupt",
    "list_data",
    "load_data",
    "make_loader",
    "plant_decoy",
    "rotate",
    "translate",
]
