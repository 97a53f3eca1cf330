"""What came out of one cell, as it is kept on disk."""

import base64
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mamba_mender._interval import Interval, wilson_interval
from mamba_mender.stress.cell import Cell

KINDS = {"indices": "<i4", "labels": "<i4", "correct": "|b1", "health": "<f4"}  # how each is packed


@dataclass(frozen=True, eq=False)
class CellResult:
    """What a model got right in one cell, image by image, in the order of the stream.

    cell: what was run.
    indices: positions in the image set of the images that were judged, int64, (images,).
    labels: their classes, int64, (images,).
    correct: right or wrong, bool, (images,).
    health: what the model said of its health with each image, in [0, 1], (images,); None if it does not tell.
    seconds: how long the model ran, or the attack.
    extra: further figures: images shown in the warm-up, mean health and the share below 1, those of an attack.
    """

    cell: Cell
    indices: Tensor
    labels: Tensor
    correct: Tensor
    seconds: float
    health: Tensor | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> Interval:
        """The share of right answers with its 95 % interval over images (Wilson)."""
        return wilson_interval(int(self.correct.sum()), len(self.correct))

    def segments(self, size: int) -> list[Interval]:
        """Give the accuracy along the stream, in stretches of `size` images; the last may be shorter.

        Example:
            >>> from mamba_mender.stress.cell import CLEAN
            >>> right = torch.tensor([True, True, False, False])
            >>> result = CellResult(Cell("vim", CLEAN), torch.arange(4), torch.zeros(4).long(), right, 0.0)
            >>> [part.mean for part in result.segments(2)]
            [1.0, 0.0]
        """
        return [wilson_interval(int(part.sum()), len(part)) for part in self.correct.split(size)]

    def to_dict(self) -> dict[str, Any]:
        """Give what sums the cell up, without the single images."""
        found = self.accuracy
        told = {"accuracy": found.mean, "interval95": [found.low, found.high], "images": len(self.correct)}
        return self.cell.to_dict() | told | {"seconds": self.seconds, "extra": self.extra}

    def to_json(self, mark: str) -> bytes:
        """Give everything as a JSON file holds it; the single images are packed (base64 of zlib of little-endian).

        Args:
            mark: of what decides the cell; kept beside it.
        """
        images = {name: getattr(self, name) for name in KINDS if getattr(self, name) is not None}
        packed = {name: _pack(tensor, KINDS[name]) for name, tensor in images.items()}
        told = {"mark": mark, "cell": self.cell.to_dict(), "accuracy": self.accuracy.to_dict()}
        told |= {"images": len(self.correct), "seconds": self.seconds, "extra": self.extra, "packed": packed}
        return json.dumps(told, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes) -> tuple["CellResult", str]:
        """Read what :meth:`to_json` gave, and its mark.

        Raises:
            ValueError, KeyError, TypeError: the content is damaged.
        """
        told = json.loads(content)
        images = {name: _unpack(text, KINDS[name]) for name, text in told["packed"].items()}
        if {len(tensor) for tensor in images.values()} != {told["images"]}:
            raise ValueError("the single images are not as many as the file says")
        cell, seconds = Cell.from_dict(told["cell"]), told["seconds"]
        return cls(cell, seconds=seconds, extra=told["extra"], **images), told["mark"]


def _pack(tensor: Tensor, kind: str) -> str:
    values = tensor.cpu().numpy().astype(kind)
    content = np.packbits(values).tobytes() + len(values).to_bytes(4, "little") if kind == "|b1" else values.tobytes()
    return base64.b64encode(zlib.compress(content)).decode()


def _unpack(text: str, kind: str) -> Tensor:
    try:
        content = zlib.decompress(base64.b64decode(text))
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if kind == "|b1":
        bits, count = np.frombuffer(content[:-4], dtype=np.uint8), int.from_bytes(content[-4:], "little")
        return torch.from_numpy(np.unpackbits(bits, count=count).astype(bool))
    values = torch.from_numpy(np.frombuffer(content, dtype=kind).copy())
    return values.long() if kind == "<i4" else values
