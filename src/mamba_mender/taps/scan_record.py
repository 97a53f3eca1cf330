"""What one scan read and wrote, with the means to prove it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import torch
from torch import Tensor

from mamba_mender.taps.conv_call import ConvCall
from mamba_mender.taps.scan_call import ScanCall

P = ParamSpec("P")
R = TypeVar("R")

# The largest error, relative to the largest value, that rounding in each dtype explains (measured in tests/taps).
BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@dataclass(frozen=True)
class Proof:
    """How far a recorded scan lies from the same scan in float64.

    y_error: largest error of y, relative to the largest absolute value of y.
    state_error: the same for the last state.
    bound: the largest error that rounding in the record's dtype explains.
    """

    y_error: float
    state_error: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether both errors are within the bound; NaN is not."""
        return self.y_error <= self.bound and self.state_error <= self.bound


@dataclass(frozen=True, eq=False, kw_only=True)
class ScanRecord(ScanCall):
    """Hold everything that went into and came out of one scan.

    What went in is described in :class:`mamba_mender.taps.ScanCall`.

    name: the scan's module name, e.g. "layers.3.mixer.forward_scan".
    block: number of the block it belongs to.
    direction: "forward" or "backward".
    y: output with the skip, before the gate, (batch, channels, length).
    last_state: state after the last step scanned, (batch, channels, state).
    conv: the short convolution before the scan, or None where there is none.
    mask: True at real tokens and False at padding, (batch, length), or None where nothing is padded.
    """

    name: str
    block: int
    direction: str
    y: Tensor
    last_state: Tensor
    conv: ConvCall | None = None
    mask: Tensor | None = None
    _derived: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def sample(self, i: int) -> Self:
        """Take one sample, as a batch of one."""
        return self._with_conv(super().sample(i), lambda name, t: t[i : i + 1] if name in ("x", "before") else t)

    def to(self, dtype: torch.dtype) -> Self:
        """Convert every tensor of numbers, detached."""
        return self._with_conv(super().to(dtype), lambda _, t: t.detach().to(dtype))

    def in_scan_order(self) -> Self:
        """Put the tensors in the order in which they are scanned, so that reverse is False.

        What is computed along the length of the result has to be flipped back where ``reverse`` was True.
        """
        if not self.reverse:
            return self
        flipped = self._with_conv(super().in_scan_order(), lambda name, t: t.flip(-1) if name == "x" else t)
        conv = None if flipped.conv is None else replace(flipped.conv, reverse=False)
        return replace(flipped, conv=conv)

    def _with_conv(self, record: Self, function: Callable[[str, Tensor], Tensor]) -> Self:
        """Change the convolution as the record was changed; what was derived before is not true of it any more."""
        return replace(record, conv=None if self.conv is None else self.conv.map(function))

    @torch.no_grad()
    def proof(self) -> Proof:
        """Recompute y and the last state in float64, and measure the largest errors.

        Works through the batch one sample at a time, so that memory stays small; computed once.

        Returns:
            The errors, relative to the largest absolute value of what was recomputed.

        Raises:
            ValueError: the record holds no sample.
        """
        if "proof" not in self._derived:
            self._derived["proof"] = self._prove()
        return self._derived["proof"]

    def _prove(self) -> Proof:
        if len(self.u) == 0:
            raise ValueError(
                f"ScanRecord.proof: {self.name} was recorded on an empty batch; record at least one sample."
            )
        y_error, y_size, state_error, state_size = 0.0, 0.0, 0.0, 0.0
        for i in range(len(self.u)):
            y, last = self.sample(i).to(torch.float64).scan()
            y_error = _larger(y_error, self.y[i : i + 1] - y)
            state_error = _larger(state_error, self.last_state[i : i + 1] - last)
            y_size, state_size = _larger(y_size, y), _larger(state_size, last)
        dtypes = {t.dtype for t in (self.u, self.delta, self.B, self.C, self.y)} | {self.precision or self.u.dtype}
        coarsest = max(dtypes, key=BOUNDS.__getitem__)
        return Proof(_relative(y_error, y_size), _relative(state_error, state_size), BOUNDS[coarsest])


def derived(
    function: Callable[Concatenate[ScanRecord, P], R],
) -> Callable[Concatenate[ScanRecord, P], R]:
    """Compute a quantity of a record once for each choice of arguments, and keep it on the record.

    Only for functions of a record alone: every other argument must be hashable.

    Example:
        >>> @derived
        ... def channels(record: ScanRecord) -> int:
        ...     return record.u.shape[1]
    """

    @wraps(function)
    def look_up(record: ScanRecord, *args: P.args, **kwargs: P.kwargs) -> R:
        key = (function.__module__, function.__qualname__, args, tuple(sorted(kwargs.items())))
        if key not in record._derived:
            record._derived[key] = function(record, *args, **kwargs)
        return record._derived[key]

    return look_up


def _larger(so_far: float, values: Tensor) -> float:
    """Take the larger of a number and the largest absolute value; NaN wins."""
    largest = values.abs().max().item()
    return largest if largest != largest else max(so_far, largest)


def _relative(error: float, size: float) -> float:
    return error / size if size else error
