"""Random numbers for a batch, of which each image has its own."""

import torch
from torch import Tensor


class Draws:
    """Draw random numbers for the images of a batch, each from a generator of its own.

    The seeds of the images come from one generator, one after the other. So what is drawn for an image depends
    neither on the other images nor on where a batch ends, only on how many images went before it.

    Args:
        images: (batch, ...), whose device and dtype the numbers take.
        generator: gives one seed for each image; on the CPU; torch's own if omitted.

    Example:
        >>> both = Draws(torch.zeros(2, 1), torch.Generator().manual_seed(0)).uniform(3)
        >>> generator = torch.Generator().manual_seed(0)
        >>> one, other = (Draws(torch.zeros(1, 1), generator).uniform(3) for _ in range(2))
        >>> torch.equal(both, torch.cat([one, other]))
        True
    """

    def __init__(self, images: Tensor, generator: torch.Generator | None = None) -> None:
        seeds = torch.randint(2**63 - 1, (len(images),), generator=generator).tolist()
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._like = images

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw evenly from [low, high), (batch, *shape)."""
        numbers = torch.empty(len(self._generators), *shape)
        for row, generator in zip(numbers, self._generators, strict=True):
            row.uniform_(low, high, generator=generator)
        return numbers.to(self._like)

    def normal(self, *shape: int) -> Tensor:
        """Draw from the standard normal law, (batch, *shape)."""
        numbers = torch.empty(len(self._generators), *shape)
        for row, generator in zip(numbers, self._generators, strict=True):
            row.normal_(generator=generator)
        return numbers.to(self._like)

    def poisson(self, rates: Tensor) -> Tensor:
        """Draw counts with these means, (batch, ...)."""
        counts = [torch.poisson(row, generator=g) for row, g in zip(rates.cpu(), self._generators, strict=True)]
        return torch.stack(counts).to(self._like)
