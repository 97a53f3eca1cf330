"""The implementations of each op, by backend."""

from collections.abc import Callable
from typing import Any

from mamba_mender.ops import cpu_conv, cpu_scan, reference
from mamba_mender.ops.backends import Backend

SCAN: dict[Backend, Callable[..., Any]] = {"reference": reference.selective_scan, "cpu": cpu_scan.selective_scan}
CONV: dict[Backend, Callable[..., Any]] = {"reference": reference.causal_conv1d, "cpu": cpu_conv.causal_conv1d}
