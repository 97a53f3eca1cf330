"""What one kind of corruption is: a function and its parameters at five severities."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mamba_mender.data.corruptions.draws import Draws


@dataclass(frozen=True)
class Length:
    """A length in pixels that grows with the image.

    It is ``at_32`` up to a side of 32, so that a small image is still corrupted, linear between 32 and 224, and
    proportional to the side from 224 on.

    Example:
        >>> radius = Length(at_32=1.0, at_224=8.0)
        >>> [radius.pixels(side) for side in (28, 32, 128, 224, 448)]
        [1.0, 1.0, 4.5, 8.0, 16.0]
    """

    at_32: float
    at_224: float

    def pixels(self, side: int) -> float:
        """Give the length for an image of this side."""
        if side >= 224:
            return self.at_224 * side / 224
        return self.at_32 + (self.at_224 - self.at_32) * max(side - 32, 0) / (224 - 32)


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """One kind of corruption.

    group: what it stands for.
    function: makes corrupted images, not yet clipped, from (images, draws) and the parameters of one severity.
    severities: those parameters by name, for the severities 1 to 5; a Length is handed over in pixels.
    source: where the parameters are from.
    """

    group: Literal["noise", "blur", "weather", "digital"]
    function: Callable[..., Tensor]
    severities: tuple[dict[str, float | Length], ...]
    source: str

    def parameters(self, severity: int, side: int) -> dict[str, float]:
        """Give the parameters at a severity from 1 to 5 for images whose shorter side is this long."""
        return {
            name: value.pixels(side) if isinstance(value, Length) else value
            for name, value in self.severities[severity - 1].items()
        }

    def __call__(self, images: Tensor, draws: Draws, *, severity: int) -> Tensor:
        """Corrupt pixels, (batch, channels, height, width), that have been checked."""
        return self.function(images, draws, **self.parameters(severity, min(images.shape[2:]))).clamp(0, 1)
