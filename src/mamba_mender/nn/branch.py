"""What the one-directional and the bidirectional Mamba mixer share: one selective branch and its initialisation."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamba_mender.nn.scan import Scan


def selective_branch(
    scan: Scan, c: Tensor, z: Tensor, x_proj: nn.Linear, dt_proj: nn.Linear, A_log: Tensor, D: Tensor
) -> Tensor:
    """Let c choose its own step sizes, B and C, then scan it and gate it by z.

    Computes ``(dt, B, C) = x_proj(c)``, ``delta = dt_proj.weight @ dt`` and
    ``scan(c, delta, -exp(A_log), B, C, D, z, dt_proj.bias)``: the bias is added once, inside the scan.

    Args:
        scan: the scan to run.
        c: input after convolution and SiLU, (batch, tokens, channels).
        z: gate before its SiLU, (batch, tokens, channels).
        x_proj: channels to dt_rank + 2 * state.
        dt_proj: dt_rank to channels, with bias.
        A_log: log of the decay rates, (channels, state).
        D: skip weight, (channels).

    Returns:
        The gated output, (batch, tokens, channels).

    Source: Gu & Dao, "Mamba" (arXiv:2312.00752), Algorithm 2.
    """
    state = A_log.shape[1]
    dt, B, C = x_proj(c).split([dt_proj.in_features, state, state], dim=-1)
    delta = F.linear(dt, dt_proj.weight)
    exact = torch.promote_types(A_log.dtype, torch.float32)  # the scan's own parameters are never halved
    A = -torch.exp(A_log.to(exact))
    return scan(c.mT, delta.mT, A, B.mT, C.mT, D.to(exact), z.mT, dt_proj.bias.to(exact)).mT


def init_A_log(channels: int, state: int) -> Tensor:
    """Make the S4D-Real start: decay rates 1, 2, ..., state in each channel, as logarithms."""
    return torch.arange(1.0, state + 1).log().repeat(channels, 1)


def init_step_sizes(dt_proj: nn.Linear, low: float = 1e-3, high: float = 1e-1) -> None:
    """Draw dt_proj so that the steps at the start, softplus(bias), are log-uniform in [low, high].

    Source: Gu & Dao, "Mamba" (arXiv:2312.00752), section 3.6.
    """
    bound = dt_proj.in_features**-0.5
    with torch.no_grad():
        dt_proj.weight.uniform_(-bound, bound)
        step = torch.empty_like(dt_proj.bias).uniform_(math.log(low), math.log(high)).exp()
        dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))  # the inverse of softplus
