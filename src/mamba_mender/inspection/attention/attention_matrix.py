"""The hidden attention of a scan and of its whole block, as linear maps that are never written out."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender.inspection.attention.initial_state_output import initial_state_output
from mamba_mender.inspection.attention.select_scan import first_scanned
from mamba_mender.ops import causal_conv1d, selective_scan
from mamba_mender.taps import ScanRecord

Of = Literal["scan", "block"]

# A step of 0 writes and decays nothing. The transposed scan divides by it, so it takes this instead, with which
# exp(step A) is still exactly 1.
SMALLEST_STEP = 1e-30
BUDGET = 2**21  # numbers of one tensor that a part of the channels may hold, small enough for the processor's caches
AGREES = {torch.bfloat16: 5e-2, torch.float16: 1e-2, torch.float32: 1e-4, torch.float64: 1e-9}  # of a convolution


class AttentionMatrix(ABC):
    """A matrix for each channel, (length x length), known by its products; positions are in image order.

    Rows and columns of padding are zero.
    """

    def __init__(self, record: ScanRecord) -> None:
        self.record = record

    def times(self, v: Tensor) -> Tensor:
        """Multiply by a vector for each channel, (batch, channels or 1, length), from the right."""
        return self._padded(self._times(self._spread(v)))

    def transposed_times(self, v: Tensor) -> Tensor:
        """Multiply by a vector for each channel, (batch, channels or 1, length), from the left."""
        return self._padded(self._transposed_times(self._spread(v)))

    @abstractmethod
    def first(self, length: int) -> "AttentionMatrix":
        """Cut to the positions that are scanned first."""

    @abstractmethod
    def _times(self, v: Tensor) -> Tensor: ...

    @abstractmethod
    def _transposed_times(self, v: Tensor) -> Tensor: ...

    def _spread(self, v: Tensor) -> Tensor:
        exact = torch.promote_types(self.record.u.dtype, torch.float32)
        return self._padded(v.to(exact)).expand(self.record.u.shape)

    def _padded(self, v: Tensor) -> Tensor:
        mask = self.record.mask
        return v if mask is None else v * mask[:, None]


class ScanMatrix(AttentionMatrix):
    """The attention of the scan, without the skip: alpha in y = (alpha + diag D) u."""

    def first(self, length: int) -> "ScanMatrix":
        cut = ScanMatrix(first_scanned(self.record, length))
        step, following = self._steps
        cut._steps = _first(step, self.record, length), _first(following, self.record, length)
        return cut

    def _times(self, v: Tensor) -> Tensor:
        r = self.record
        return selective_scan(v, r.delta, r.A, r.B, r.C, None, None, r.delta_bias, r.delta_softplus, reverse=r.reverse)

    def _transposed_times(self, v: Tensor) -> Tensor:
        """Scan back, with B and C in each other's place.

        G[j] = C[j] v[j] + exp(step[j+1] A) G[j+1] and (v alpha)[j] = step[j] <B[j], G[j]>: a scan in the other
        direction whose step is that of the position before it, and whose input is divided by that step because
        a scan multiplies by it.
        """
        r, (step, following) = self.record, self._steps
        back = selective_scan(v / following, following, r.A, r.C, r.B, reverse=not r.reverse)
        return back.mul_(step)

    @cached_property
    def _steps(self) -> tuple[Tensor, Tensor]:
        """The step of each position, and the step of the position that is scanned after it."""
        step = self.record.step
        if not self.record.delta_softplus and bool((step < 0).any()):
            raise ValueError(f"hidden attention: {self.record.name} has negative steps; they must be 0 or more.")
        around = [step[..., -1:], step[..., :-1]] if self.record.reverse else [step[..., 1:], step[..., :1]]
        following = torch.cat(around, -1)  # nothing follows the last one, so any number will do there
        return step, following.clamp_min_(SMALLEST_STEP)


class BlockMatrix(AttentionMatrix):
    """The attention of the whole block: H in gated y = H x + offset.

    With M the convolution's taps as a matrix, b its bias and c = silu(M x + b) = sigmoid(M x + b) (M x + b)::

        H = diag(silu(z)) (alpha + diag D) diag(sigmoid(M x + b)) M
    """

    def first(self, length: int) -> "BlockMatrix":
        cut = BlockMatrix(first_scanned(self.record, length))
        cut._scan = self._scan.first(length)
        cut.gate = _first(self.gate, self.record, length)
        cut.slope = _first(self.slope, self.record, length)
        return cut

    def _times(self, v: Tensor) -> Tensor:
        return self.after_convolution(causal_conv1d(v, self._weight, reverse=self.record.reverse))

    def _transposed_times(self, v: Tensor) -> Tensor:
        back = self._scan.transposed_times(v := v * self.gate)
        if self.record.D is not None:
            back = back + self.record.D.to(back.dtype)[:, None] * v
        return causal_conv1d(back * self.slope, self._weight, reverse=not self.record.reverse)

    def after_convolution(self, v: Tensor) -> Tensor:
        """Multiply by diag(silu z) (alpha + diag D) diag(sigmoid(M x + b)), which is all but M."""
        v = self._padded(v * self.slope)
        y = self._scan.times(v)
        if self.record.D is not None:
            y = y + self.record.D.to(y.dtype)[:, None] * v
        return y * self.gate

    def offset(self) -> Tensor:
        """Compute what the gated output has beside H x, (batch, channels, length).

        It comes from the convolution's bias, from inputs before the first, and from the initial state.
        """
        conv = self.record.conv
        assert conv is not None
        before = conv.convolve(torch.zeros_like(conv.x), activation=False)
        state = initial_state_output(self.record)
        return self._padded(self.after_convolution(before.to(self.gate.dtype)) + state * self.gate)

    @cached_property
    def _scan(self) -> ScanMatrix:
        return ScanMatrix(self.record)

    @cached_property
    def gate(self) -> Tensor:
        """What the gate multiplies y by, (batch, channels, length): silu(z), or 1 without one."""
        z = self.record.z
        exact = torch.promote_types(self.record.u.dtype, torch.float32)
        return torch.ones_like(self.record.u, dtype=exact) if z is None else F.silu(z.to(exact))

    @cached_property
    def slope(self) -> Tensor:
        """What the activation multiplies its input by, (batch, channels, length): sigmoid, or 1 without one."""
        conv, exact = self.record.conv, self.gate.dtype
        assert conv is not None
        inside = conv.convolve(activation=False).to(exact)
        slope = torch.ones_like(inside) if conv.activation is None else inside.sigmoid()
        _check_convolution(self.record, self._padded(slope * inside))
        return slope

    @property
    def _weight(self) -> Tensor:
        assert self.record.conv is not None
        return self.record.conv.weight.to(self.gate.dtype)


def attention_matrix(where: str, record: ScanRecord, of: Of) -> AttentionMatrix:
    """Make the matrix of a scan or of its block.

    Raises:
        ValueError: `of` is unknown, the recurrence was edited, or a block has no recorded convolution.
    """
    if record.edits:
        raise ValueError(f"{where}: the recurrence of {record.name} was edited; record the model without edits in it.")
    if of == "scan":
        return ScanMatrix(record)
    if of != "block":
        raise ValueError(f"{where}: of must be 'scan' or 'block', got {of!r}.")
    if record.conv is None:
        raise ValueError(f"{where}: {record.name} has no recorded convolution; take of='scan'.")
    return BlockMatrix(record)


def _check_convolution(record: ScanRecord, convolved: Tensor) -> None:
    """Refuse a record whose scan does not read its convolution's output.

    Raises:
        ValueError: they differ by more than rounding.
    """
    scanned = record.u if record.mask is None else record.u * record.mask[:, None]
    error = scanned.to(convolved.dtype) - convolved
    size = convolved.abs().max().clamp_min(1e-30)
    if bool(error.abs().max() > AGREES[_computed_in(record.u)] * size):
        raise ValueError(
            f"hidden attention of a block: what {record.name} scans is not the output of its convolution; something "
            "was edited between them. Take of='scan', or record the model without the edit."
        )


def _first(t: Tensor, record: ScanRecord, length: int) -> Tensor:
    """Cut a tensor to the positions that are scanned first."""
    return t[..., record.length - length :] if record.reverse else t[..., :length]


def _computed_in(values: Tensor) -> torch.dtype:
    """Tell in which dtype values were computed: a record may have been converted to float64 since."""
    return next(dtype for dtype in AGREES if torch.equal(values.to(dtype).to(values.dtype), values))
