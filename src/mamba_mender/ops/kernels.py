"""The implementations of each op, by backend."""

from collections.abc import Callable
from typing import Any

from mamba_mender.ops import cpu_conv, cpu_scan, cpu_update, reference
from mamba_mender.ops.backends import Backend

SCAN: dict[Backend, Callable[..., Any]] = {"reference": reference.selective_scan, "cpu": cpu_scan.selective_scan}
CROSS_SCAN: dict[Backend, Callable[..., Any]] = {
    "reference": reference.cross_selective_scan,
    "cpu": cpu_scan.cross_selective_scan,
}
READS_HALVES: frozenset[Backend] = frozenset({"cpu"})  # scans that read u, delta, B, C and z in half precision as it is
CONV: dict[Backend, Callable[..., Any]] = {"reference": reference.causal_conv1d, "cpu": cpu_conv.causal_conv1d}
STATE_UPDATE: dict[Backend, Callable[..., Any]] = {
    "reference": reference.selective_state_update,
    "cpu": cpu_update.selective_state_update,
}
CONV_UPDATE: dict[Backend, Callable[..., Any]] = {
    "reference": reference.causal_conv1d_update,
    "cpu": cpu_update.causal_conv1d_update,
}
