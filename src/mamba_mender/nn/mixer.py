"""The Mamba mixer: projections, short convolution, selective scan, gate."""

import math

import torch
from torch import Tensor, nn

from mamba_mender.nn.branch import selective_branch
from mamba_mender.nn.causal_conv import CausalConv1d
from mamba_mender.nn.projection import Projection
from mamba_mender.nn.scan import Scan
from mamba_mender.nn.start import decay_logarithms, draw_step_sizes
from mamba_mender.nn.state_point import StatePoint


class MambaMixer(nn.Module):
    """Mix a sequence along its length, from its first token to its last.

    Computes, with x and z the halves of ``in_proj(hidden)``, ``c = silu(conv1d(x))`` and
    ``y = out_proj(selective_scan(c, ...) * silu(z))``. Parameters have ``mamba_ssm``'s names.

    Args:
        dim: channels of the residual stream.
        d_state: numbers kept per channel between steps (N in the paper).
        d_conv: taps of the convolution.
        expand: channels inside the mixer per channel of the residual stream (E in the paper).

    Shape:
        (batch, tokens, dim) in, the same out.

    Example:
        >>> MambaMixer(16)(torch.ones(1, 5, 16)).shape
        torch.Size([1, 5, 16])

    Source: Gu & Dao, "Mamba" (arXiv:2312.00752), figure 3 and section 3.4.
    """

    def __init__(self, dim: int, *, d_state: int = 16, d_conv: int = 4, expand: int = 2) -> None:
        super().__init__()
        channels, dt_rank = expand * dim, math.ceil(dim / 16)
        self.in_proj = Projection(dim, 2 * channels)
        self.conv1d = CausalConv1d(channels, d_conv)
        self.x_proj = Projection(channels, dt_rank + 2 * d_state)
        self.dt_proj = nn.Linear(dt_rank, channels)
        self.A_log = nn.Parameter(decay_logarithms(channels, d_state))
        self.D = nn.Parameter(torch.ones(channels))
        self.out_proj = Projection(channels, dim)
        draw_step_sizes(self.dt_proj)

        self.forward_scan = Scan()
        self.x_forward = StatePoint("x", "forward")
        self.z_forward = StatePoint("z", "forward")
        self.c_forward = StatePoint("c", "forward")
        self.y = StatePoint("y")

    def forward(self, hidden: Tensor) -> Tensor:
        x, z = self.in_proj(hidden).chunk(2, dim=-1)  # (batch, tokens, channels) each
        x, z = self.x_forward(x), self.z_forward(z)
        c = self.c_forward(self.conv1d(x))
        gated = selective_branch(self.forward_scan, c, z, self.x_proj, self.dt_proj, self.A_log, self.D)
        return self.y(self.out_proj(gated))
