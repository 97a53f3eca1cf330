"""Vim's mixer: one input and output projection, and a selective branch for each direction."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from mamba_mender.nn.branch import selective_branch
from mamba_mender.nn.causal_conv import CausalConv1d
from mamba_mender.nn.projection import Projection
from mamba_mender.nn.scan import Scan
from mamba_mender.nn.start import decay_logarithms, draw_step_sizes
from mamba_mender.nn.state_point import StatePoint


class BidirectionalMixer(nn.Module):
    """Mix a sequence along its length in both directions.

    Computes, with x and z the halves of ``in_proj(hidden)``, a branch as in Mamba from the
    first token to the last, one with parameters of its own from the last to the first, and
    ``y = out_proj((forward + backward) / 2)``. Nothing is flipped: the backward convolution
    and scan run in reverse over tensors in image order. Parameters have the published names.

    Args:
        dim: channels of the residual stream.
        d_state: numbers kept per channel between steps.
        d_conv: taps of each convolution.
        expand: channels inside the mixer per channel of the residual stream.
        init: "mamba" draws the step sizes of both directions as Mamba does; "upstream" zeroes
            the backward bias, as the published code does (its initial backward steps are near 0.69).

    Shape:
        (batch, tokens, dim) in, the same out.

    Raises:
        ValueError: init is unknown.

    Example:
        >>> BidirectionalMixer(16)(torch.ones(1, 5, 16)).shape
        torch.Size([1, 5, 16])

    Source: Zhu et al., "Vision Mamba" (arXiv:2401.09417), Algorithm 1; the division by 2 is in the authors' code.
    """

    def __init__(
        self,
        dim: int,
        *,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        init: Literal["mamba", "upstream"] = "mamba",
    ) -> None:
        super().__init__()
        if init not in ("mamba", "upstream"):
            raise ValueError(f"BidirectionalMixer: init must be 'mamba' or 'upstream', got {init!r}.")
        channels, dt_rank = expand * dim, math.ceil(dim / 16)
        self.in_proj = Projection(dim, 2 * channels)
        self.conv1d = CausalConv1d(channels, d_conv)
        self.conv1d_b = CausalConv1d(channels, d_conv, reverse=True)
        self.x_proj = Projection(channels, dt_rank + 2 * d_state)
        self.x_proj_b = Projection(channels, dt_rank + 2 * d_state)
        self.dt_proj = nn.Linear(dt_rank, channels)
        self.dt_proj_b = nn.Linear(dt_rank, channels)
        self.A_log = nn.Parameter(decay_logarithms(channels, d_state))
        self.A_b_log = nn.Parameter(decay_logarithms(channels, d_state))
        self.D = nn.Parameter(torch.ones(channels))
        self.D_b = nn.Parameter(torch.ones(channels))
        self.out_proj = Projection(channels, dim)
        draw_step_sizes(self.dt_proj)
        draw_step_sizes(self.dt_proj_b)
        if init == "upstream":
            nn.init.zeros_(self.dt_proj_b.bias)

        self.forward_scan = Scan()
        self.backward_scan = Scan(reverse=True)
        self.x_forward, self.x_backward = StatePoint("x", "forward"), StatePoint("x", "backward")
        self.z_forward, self.z_backward = StatePoint("z", "forward"), StatePoint("z", "backward")
        self.c_forward, self.c_backward = StatePoint("c", "forward"), StatePoint("c", "backward")
        self.y = StatePoint("y")

    def forward(self, hidden: Tensor) -> Tensor:
        x, z = self.in_proj(hidden).chunk(2, dim=-1)  # (batch, tokens, channels) each
        x_f, z_f = self.x_forward(x), self.z_forward(z)
        c_f = self.c_forward(self.conv1d(x_f))
        y_f = selective_branch(self.forward_scan, c_f, z_f, self.x_proj, self.dt_proj, self.A_log, self.D)
        x_b, z_b = self.x_backward(x), self.z_backward(z)
        c_b = self.c_backward(self.conv1d_b(x_b))
        y_b = selective_branch(self.backward_scan, c_b, z_b, self.x_proj_b, self.dt_proj_b, self.A_b_log, self.D_b)
        return self.y(self.out_proj(y_f + y_b) * 0.5)  # halved after projecting: fewer numbers, and exact
