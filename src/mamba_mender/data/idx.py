"""The IDX files of MNIST and its kin."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mamba_mender._check import UserError

_UNSIGNED_BYTES = 0x08  # the only element type in use for images and labels


def read_idx(path: Path) -> Tensor:
    """Read an IDX file of bytes, gzip-compressed if its name ends in .gz.

    The file is: two zero bytes, a type byte (8: unsigned bytes), the number of axes, the size of each axis as a
    big-endian 32-bit number, then the values, last axis fastest.

    Args:
        path: the file.

    Returns:
        uint8, of the shape that the file states.

    Raises:
        UserError: the file is no IDX file of bytes, or is cut short; the message names it.
    """
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTES or content[3] == 0:
        raise UserError(
            f"{path}: not an IDX file of bytes: it must start with 0x000008 and the number of axes, "
            f"but starts with 0x{content[:4].hex()}. Download it again, or check that it is the right file."
        )
    axes = content[3]
    header = 4 + 4 * axes
    if len(content) < header:
        raise UserError(f"{path}: cut short within its header ({len(content)} bytes). Download it again.")
    shape = struct.unpack(f">{axes}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise UserError(
            f"{path}: has {len(content) - header} values, but its header promises {math.prod(shape)} "
            f"({' x '.join(map(str, shape))}). Download it again."
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())


def _content(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: the gzip file is cut short or damaged ({error}). Download it again.") from error
