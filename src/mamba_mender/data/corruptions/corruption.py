"""What one kind of corruption is: a function and its parameters at five severities."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mamba_mender.data.corruptions.draws import Draws
from mamba_mender.data.corruptions.length import Length


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
