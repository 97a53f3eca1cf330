"""What enters one short convolution, in one form for every model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from mamba_mender.ops import causal_conv1d


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvCall:
    """Hold everything that enters the short convolution before a scan.

    Computes, with ``before`` in front of x (behind it if reverse)::

        c[t] = activation(sum over k of weight[k] * x[t - (width - 1) + k] + bias)

    x: input, (batch, channels, length), in image order also if reverse.
    weight: (channels, width); the last tap meets the token itself.
    bias: (channels) or None.
    activation: "silu" or None.
    reverse: whether the convolution looks at later instead of earlier positions.
    before: the inputs that came before x, (batch, channels, width - 1), or None for zeros.
    start: position of the first of x in the whole sequence.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    activation: Literal["silu"] | None
    reverse: bool = False
    before: Tensor | None = None
    start: int = 0

    def convolve(self, x: Tensor | None = None, *, activation: bool = True) -> Tensor:
        """Convolve, (batch, channels, length); x: another input, None for this call's."""
        x = self.x if x is None else x
        name = self.activation if activation else None
        if self.before is None:
            return causal_conv1d(x, self.weight, self.bias, name, reverse=self.reverse)
        padded = torch.cat([self.before, x], -1)
        return causal_conv1d(padded, self.weight, self.bias, name)[..., -x.shape[-1] :]

    def map(self, function: Callable[[str, Tensor], Tensor]) -> Self:
        """Replace every tensor by what a function of its name and itself gives."""
        return replace(
            self,
            x=function("x", self.x),
            weight=function("weight", self.weight),
            bias=None if self.bias is None else function("bias", self.bias),
            before=None if self.before is None else function("before", self.before),
        )
