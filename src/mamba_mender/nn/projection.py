"""A linear map without a bias, by the fastest matrix product."""

from torch import Tensor, nn

from mamba_mender.ops.linear import linear


class Projection(nn.Linear):
    """Multiply each token by a matrix.

    It is an ``nn.Linear`` without a bias, in all but which library multiplies.

    Args:
        in_features: size of the last axis.
        out_features: size of the last axis of what comes out.

    Shape:
        (..., in_features) in, (..., out_features) out.

    Example:
        >>> import torch
        >>> Projection(4, 2)(torch.ones(1, 5, 4)).shape
        torch.Size([1, 5, 2])
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight)
