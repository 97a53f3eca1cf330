"""The normalisation of a Mamba block."""

import torch
from torch import Tensor, nn

from mamba_mender.ops.norm import rms_norm


class RMSNorm(nn.Module):
    """Scale each token to unit root mean square, in float32 at least.

    Computes ``weight * x / sqrt(mean(x**2) + eps)`` over the channels.

    Args:
        channels: size of the last axis.
        eps: added to the mean square.

    Shape:
        (..., channels) in, the same out, in the weight's dtype.

    Example:
        >>> RMSNorm(2)(torch.tensor([[3.0, 3.0]])).detach().round(decimals=3)
        tensor([[1., 1.]])

    Source: Zhang & Sennrich, "Root mean square layer normalization" (arXiv:1910.07467), equation 4.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        dtype = torch.promote_types(torch.promote_types(x.dtype, self.weight.dtype), torch.float32)
        normed = rms_norm(x.to(dtype), self.weight.to(dtype), self.eps)
        return normed.to(self.weight.dtype)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"
