"""Stochastic depth."""

from torch import Tensor, nn


class DropPath(nn.Module):
    """Drop a sample's whole branch at random while training, and scale up those that are kept.

    Computes ``x * keep / (1 - rate)`` with one draw ``keep ~ Bernoulli(1 - rate)`` a sample.

    Args:
        rate: share of samples whose branch is dropped, in [0, 1).

    Raises:
        ValueError: rate is outside [0, 1).

    Example:
        >>> import torch
        >>> DropPath(0.5).eval()(torch.ones(2, 1)).tolist()
        [[1.0], [1.0]]

    Source: Huang et al., "Deep networks with stochastic depth" (arXiv:1603.09382), section 3.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"DropPath: rate must be in [0, 1), got {rate}.")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = x.new_empty((x.shape[0], *[1] * (x.dim() - 1))).bernoulli_(1 - self.rate)
        return x * (keep / (1 - self.rate))

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
