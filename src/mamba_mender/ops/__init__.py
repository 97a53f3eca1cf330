"""Pure functions on tensors. The only package that knows which kernel runs."""

from mamba_mender.ops.backends import Backend, available_backends
from mamba_mender.ops.conv import causal_conv1d
from mamba_mender.ops.conv_update import causal_conv1d_update
from mamba_mender.ops.cross_scan import cross_selective_scan
from mamba_mender.ops.linear_scan import linear_scan
from mamba_mender.ops.scan import selective_scan
from mamba_mender.ops.state_update import selective_state_update

__all__ = [
    "Backend",
    "available_backends",
    "causal_conv1d",
    "causal_conv1d_update",
    "cross_selective_scan",
    "linear_scan",
    "selective_scan",
    "selective_state_update",
]
