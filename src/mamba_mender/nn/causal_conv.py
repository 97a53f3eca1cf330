"""The parameters of a Mamba block's short convolution."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mamba_mender.ops import causal_conv1d


@dataclass(frozen=True, eq=False)
class ConvInputs:
    """Everything that enters one short convolution, which ends in SiLU.

    x: (batch, channels, length), in image order also if it runs in reverse. weight: (channels, width).
    bias: (channels).
    """

    x: Tensor
    weight: Tensor
    bias: Tensor
    reverse: bool


ConvTap = Callable[[ConvInputs], Tensor]
"""Takes over the convolution of these inputs and its activation; returns (batch, channels, length)."""


class CausalConv1d(nn.Module):
    """Convolve each channel by taps of its own, see nothing ahead, then apply SiLU.

    Parameters have the names and shapes of a depthwise ``nn.Conv1d``, as in published checkpoints.

    Args:
        channels: channels in and out.
        width: taps of each channel.
        reverse: convolve from the last position to the first. Tensors keep their order.

    Shape:
        (batch, length, channels) in, the same out.

    Example:
        >>> CausalConv1d(8, 4)(torch.ones(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, channels: int, width: int, *, reverse: bool = False) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width)  # what nn.Conv1d takes for one input channel
        self.weight = nn.Parameter(torch.empty(channels, 1, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))
        self.reverse = reverse
        self.tap: ConvTap | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.tap is not None:
            return self.tap(ConvInputs(x.mT, self.weight[:, 0], self.bias, self.reverse)).mT
        return causal_conv1d(x.mT, self.weight[:, 0], self.bias, "silu", reverse=self.reverse).mT

    def extra_repr(self) -> str:
        channels, _, width = self.weight.shape
        return f"{channels}, {width}, reverse={self.reverse}"
