"""How the parameters of a selective branch start."""

import math

import torch
from torch import Tensor, nn


def decay_logarithms(channels: int, state: int) -> Tensor:
    """Make A_log for decay rates 1, 2, ..., state in each channel, (channels, state).

    Source: Gu & Dao, "Mamba" (arXiv:2312.00752), section 3.6: the S4D-Real start.
    """
    return torch.arange(1.0, state + 1).log().repeat(channels, 1)


def draw_step_sizes(dt_proj: nn.Linear, low: float = 1e-3, high: float = 1e-1) -> None:
    """Draw dt_proj so that the first step sizes, softplus(bias), are log-uniform in [low, high].

    Source: Gu & Dao, "Mamba" (arXiv:2312.00752), section 3.6.
    """
    bound = dt_proj.in_features**-0.5
    with torch.no_grad():
        dt_proj.weight.uniform_(-bound, bound)
        step = torch.empty_like(dt_proj.bias).uniform_(math.log(low), math.log(high)).exp()
        dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))  # the inverse of softplus
