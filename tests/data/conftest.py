"""Small data on disk: real files in the formats that the loaders read."""

import gzip
import struct

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_image():
    """Write pixels, (height, width) or (height, width, 3), to a file; its folders are made."""

    def write(path, pixels):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)
        return path

    return write


@pytest.fixture
def image_folder(tmp_path, write_image):
    """Two classes of grey 8x8 images: a bright square of its own place on black in each."""
    random = np.random.default_rng(0)
    for number in range(20):
        pixels = np.zeros((8, 8))
        top, left = random.integers(0, 5, 2)
        pixels[top : top + 3, left : left + 3] = 100 + 5 * number
        write_image(tmp_path / "images" / "ab"[number % 2] / f"{number:02d}.png", pixels)
    return tmp_path / "images"


@pytest.fixture
def mask_folder(image_folder, write_image):
    """A mask for each image of `image_folder`, by stem, in one flat folder: the bright square."""
    for file in image_folder.rglob("*.png"):
        write_image(image_folder.parent / "masks" / file.name, (np.asarray(Image.open(file)) > 0) * 255)
    return image_folder.parent / "masks"


@pytest.fixture
def write_idx():
    """Write an array of bytes as an IDX file, compressed if the name ends in .gz."""

    def write(path, values):
        values = np.asarray(values, dtype=np.uint8)
        content = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return path

    return write


@pytest.fixture
def idx_folder(tmp_path, write_idx):
    """A tiny set with MNIST's four files: 100 training and 20 test images of 14x14 pixels, ten classes."""
    random = np.random.default_rng(0)
    folder = tmp_path / "data" / "mnist"
    for prefix, count in {"train": 100, "t10k": 20}.items():
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", random.integers(0, 256, (count, 14, 14)))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    return folder
