"""The implementations of each op, by backend."""

from collections.abc import Callable
from typing import Any

from mamba_mender.ops import cpu_conv, cpu_scan, cpu_update, gpu_scan, mamba_ssm_scan, reference
from mamba_mender.ops.backends import Backend

SCAN: dict[Backend, Callable[..., Any]] = {
    "cpu": cpu_scan.selective_scan,
    "triton": gpu_scan.selective_scan,
    "mamba_ssm": mamba_ssm_scan.selective_scan,
    "reference": reference.selective_scan,
}
CROSS_SCAN: dict[Backend, Callable[..., Any]] = {
    "cpu": cpu_scan.cross_selective_scan,
    "triton": gpu_scan.cross_selective_scan,
    "reference": reference.cross_selective_scan,
}
# Scans that read u, delta, B, C and z in half precision as it is.
READS_HALVES: frozenset[Backend] = frozenset({"cpu", "triton", "mamba_ssm"})
CONV: dict[Backend, Callable[..., Any]] = {"cpu": cpu_conv.causal_conv1d, "reference": reference.causal_conv1d}
STATE_UPDATE: dict[Backend, Callable[..., Any]] = {
    "reference": reference.selective_state_update,
    "cpu": cpu_update.selective_state_update,
}
CONV_UPDATE: dict[Backend, Callable[..., Any]] = {
    "reference": reference.causal_conv1d_update,
    "cpu": cpu_update.causal_conv1d_update,
}
