"""The branch that the one-directional and the bidirectional Mamba mixer share."""

import torch
from torch import Tensor, nn

from mamba_mender.nn.scan import Scan
from mamba_mender.ops.linear import linear


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
    delta = linear(dt, dt_proj.weight)
    exact = torch.promote_types(A_log.dtype, torch.float32)  # the scan's own parameters are never halved
    A = -torch.exp(A_log.to(exact))
    return scan(c.mT, delta.mT, A, B.mT, C.mT, D.to(exact), z.mT, dt_proj.bias.to(exact)).mT
