"""The selective scan as a module, so that a tap can see and change what flows through it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from mamba_mender.ops import selective_scan


@dataclass(frozen=True, eq=False)
class ScanInputs:
    """Everything that enters one scan, with the names and shapes of :func:`mamba_mender.ops.selective_scan`.

    u, delta, z: (batch, channels, length), in image order also if the scan runs in reverse.
    A: (channels, state). B, C: (batch, state, length). D, delta_bias: (channels).
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    delta_softplus: bool
    reverse: bool


ScanTap = Callable[[ScanInputs], Tensor]
"""Takes over the scan of these inputs and its gate; returns the gated output, (batch, channels, length)."""


class Scan(nn.Module):
    """Run the gated selective scan, or leave it to the tap.

    Computes ``selective_scan(u, delta, A, B, C, D, delta_bias=delta_bias, delta_softplus=True) * silu(z)``.

    Args:
        reverse: scan from the last position to the first. Tensors keep their order.

    Example:
        >>> import torch
        >>> u = torch.ones(1, 2, 3)
        >>> Scan()(u, u, -torch.ones(2, 4), torch.ones(1, 4, 3), torch.ones(1, 4, 3)).shape
        torch.Size([1, 2, 3])
    """

    def __init__(self, *, reverse: bool = False) -> None:
        super().__init__()
        self.reverse = reverse
        self.tap: ScanTap | None = None

    def forward(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
    ) -> Tensor:
        if self.tap is None:
            return selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus=True, reverse=self.reverse)
        return self.tap(ScanInputs(u, delta, A, B, C, D, z, delta_bias, True, self.reverse))

    def extra_repr(self) -> str:
        return f"reverse={self.reverse}"
