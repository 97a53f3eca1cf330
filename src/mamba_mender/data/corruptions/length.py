"""A length in pixels that fits the image."""

from dataclasses import dataclass


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
