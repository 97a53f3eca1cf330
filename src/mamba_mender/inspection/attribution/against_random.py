"""A number for each sample, beside what chance gives."""

from dataclasses import dataclass

from torch import Tensor

from mamba_mender.inspection.causality.bootstrap import Interval, bootstrap
from mamba_mender.inspection.result import Result


@dataclass(frozen=True, eq=False)
class AgainstRandom(Result):
    """A score of each sample beside that of random relevance.

    value: (batch).
    random: the same of random orders or permuted relevance, (draws, batch).
    gain: how much better value is than the mean of its random draws, over samples, with its interval; above 0 is
        better also where a lower value is better.
    """

    value: Tensor
    random: Tensor
    gain: Interval

    @property
    def beats_random(self) -> bool:
        """Whether the whole interval of the gain is above 0; False where one sample gives none."""
        return bool(self.gain.low > 0)


def against_random(value: Tensor, random: Tensor, *, lower_is_better: bool = False) -> AgainstRandom:
    """Compare a score with random draws of it, sample by sample.

    Example:
        >>> import torch
        >>> found = against_random(torch.tensor([1.0, 1.0]), torch.zeros(5, 2))
        >>> found.gain.mean.item(), found.beats_random
        (1.0, True)
    """
    gain = value - random.mean(0)
    return AgainstRandom(value, random, bootstrap(-gain if lower_is_better else gain))
