"""A Mamba layer that calls its kernels the way mamba_ssm's does: by the same global names, with the same arguments.

mamba_ssm itself cannot be imported without its CUDA extension. Where it is installed, its own layer is tested too.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mamba_mender.ops import selective_scan as selective_scan_fn
from mamba_mender.ops import selective_state_update

causal_conv1d_fn = None
causal_conv1d_update = None


def mamba_inner_fn(*_args, **_kwargs):
    raise AssertionError("the fused path ran around the taps")


class Mamba(nn.Module):
    def __init__(self, d_model, d_state=4, d_conv=4):
        super().__init__()
        self.d_inner, self.d_state, self.dt_rank, self.d_conv = 2 * d_model, d_state, 2, d_conv
        self.use_fast_path = False
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=False)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, d_conv, groups=self.d_inner, padding=d_conv - 1)
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        self.A_log = nn.Parameter(torch.rand(self.d_inner, d_state))
        self.D = nn.Parameter(torch.ones(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)
        self.act = nn.SiLU()

    def forward(self, hidden_states, inference_params=None):
        conv_state, ssm_state = inference_params if inference_params is not None else (None, None)
        if ssm_state is not None and hidden_states.shape[1] == 1:
            return self.step(hidden_states, conv_state, ssm_state)[0]
        length = hidden_states.shape[1]
        xz = self.in_proj(hidden_states).mT
        A = -torch.exp(self.A_log.float())
        if self.use_fast_path and causal_conv1d_fn is not None and inference_params is None:
            return mamba_inner_fn(xz, A)
        x, z = xz.chunk(2, dim=1)
        if conv_state is not None:
            conv_state.copy_(F.pad(x, (self.d_conv - x.shape[-1], 0)))
        if causal_conv1d_fn is None:
            x = self.act(self.conv1d(x)[..., :length])
        else:
            x = causal_conv1d_fn(x=x, weight=self.conv1d.weight[:, 0], bias=self.conv1d.bias, activation="silu")
        dt, B, C = self.x_proj(x.mT).split([self.dt_rank, self.d_state, self.d_state], -1)
        y = selective_scan_fn(
            x,
            (dt @ self.dt_proj.weight.T).mT,
            A,
            B.mT.contiguous(),
            C.mT.contiguous(),
            self.D.float(),
            z=z,
            delta_bias=self.dt_proj.bias.float(),
            delta_softplus=True,
            return_last_state=ssm_state is not None,
        )
        if ssm_state is not None:
            y, last_state = y
            ssm_state.copy_(last_state)
        return self.out_proj(y.mT)

    def step(self, hidden_states, conv_state, ssm_state):
        x, z = self.in_proj(hidden_states.squeeze(1)).chunk(2, dim=-1)
        if causal_conv1d_update is None:
            conv_state.copy_(torch.roll(conv_state, shifts=-1, dims=-1))
            conv_state[:, :, -1] = x
            x = self.act((conv_state * self.conv1d.weight[:, 0]).sum(-1) + self.conv1d.bias)
        else:
            x = causal_conv1d_update(x, conv_state, self.conv1d.weight[:, 0], self.conv1d.bias, "silu")
        dt, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], -1)
        dt = F.linear(dt, self.dt_proj.weight)
        A = -torch.exp(self.A_log.float())
        y = selective_state_update(ssm_state, x, dt, A, B, C, self.D, z=z, dt_bias=self.dt_proj.bias, dt_softplus=True)
        return self.out_proj(y).unsqueeze(1), conv_state, ssm_state
