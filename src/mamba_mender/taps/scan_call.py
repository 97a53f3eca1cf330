"""What enters one scan, in one form for every model."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender.ops import selective_scan
from mamba_mender.ops.backends import Backend
from mamba_mender.taps.edited_scan import RecurrenceEdit, edited_scan

_BATCHED = ("u", "delta", "z", "initial_state", "y", "last_state", "mask")  # of this class and of ScanRecord
_ALONG_LENGTH = ("u", "delta", "z", "y", "mask")


@dataclass(frozen=True, eq=False, kw_only=True)
class ScanCall:
    """Hold everything that enters one selective scan, whichever library's model it belongs to.

    Names and shapes are those of :func:`mamba_mender.ops.selective_scan`. Mamba-2's heads are spelled out:
    a head of P channels is P neighbouring channels with the same step, decay and skip.

    u: input, (batch, channels, length), in image order also if reverse.
    delta: step size before bias and softplus, (batch, channels, length).
    A: decay rate, (channels, state).
    B, C: input and output matrices, (batch, groups, state, length), neighbouring channels in a group.
    D: skip weight, (channels) or None.
    z: gate before its SiLU, (batch, channels, length) or None; applied after y.
    delta_bias: added to delta, (channels) or None.
    delta_softplus: whether the step is softplus(delta + delta_bias).
    reverse: whether the scan runs from the last position to the first; tensors are in image order either way.
    initial_state: state before the first step, (batch, channels, state), or None for zeros.
    heads: number of heads that share step and decay (Mamba-2), or None where each channel has its own.
    gated_norm: whether what follows the gate is a norm (Mamba-2), so that channels mix before the projection.
    start: position of the first token in the whole sequence, > 0 while decoding.
    first_channel: number of the first channel, > 0 where heads are scanned one by one (Zamba).
    precision: in what the model itself scans where that is coarser than its tensors: transformers computes float64
        models partly in float32.
    edits: changes inside the recurrence, made by :func:`mamba_mender.taps.edit`.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    z: Tensor | None = None
    delta_bias: Tensor | None = None
    delta_softplus: bool = True
    reverse: bool = False
    initial_state: Tensor | None = None
    heads: int | None = None
    gated_norm: bool = False
    start: int = 0
    first_channel: int = 0
    precision: torch.dtype | None = None
    edits: tuple[RecurrenceEdit, ...] = ()

    @property
    def batch(self) -> int:
        return self.u.shape[0]

    @property
    def channels(self) -> int:
        return self.u.shape[1]

    @property
    def length(self) -> int:
        return self.u.shape[2]

    @property
    def state(self) -> int:
        """Number of state coordinates a channel (N in the paper)."""
        return self.A.shape[1]

    @property
    def step(self) -> Tensor:
        """The step sizes with bias and softplus, (batch, channels, length), at least float32."""
        exact = torch.promote_types(self.delta.dtype, torch.float32)
        step = self.delta.to(exact)
        if self.delta_bias is not None:
            step = step + self.delta_bias.to(exact)[:, None]
        return F.softplus(step) if self.delta_softplus else step

    def same_scan(self, other: "ScanCall") -> bool:
        """Tell whether another call scans the very same tensors; gates do not count."""
        return not (self.edits or other.edits) and all(
            getattr(self, name) is getattr(other, name)
            for name in ("u", "delta", "A", "B", "C", "D", "delta_bias", "initial_state")
        )

    def sample(self, i: int) -> Self:
        """Take one sample, as a batch of one."""
        sampled = self._map(lambda name, t: t[i : i + 1] if name in _BATCHED or name in "BC" else t)
        return replace(sampled, edits=tuple(edit.sample(i) for edit in self.edits))

    def to(self, dtype: torch.dtype) -> Self:
        """Convert every tensor of numbers, detached."""
        return self._map(lambda _, t: t.detach().to(dtype) if t.is_floating_point() else t)

    def in_scan_order(self) -> Self:
        """Put the tensors in the order in which they are scanned, so that reverse is False.

        What is computed along the length of the result has to be flipped back where ``reverse`` was True.
        """
        if not self.reverse:
            return self
        flipped = self._map(lambda name, t: t.flip(-1) if name in _ALONG_LENGTH or name in "BC" else t)
        return replace(flipped, reverse=False, edits=tuple(edit.flip(self.start, self.length) for edit in self.edits))

    def scan(
        self, u: Tensor | None = None, *, skip: bool = True, backend: Backend | None = None
    ) -> tuple[Tensor, Tensor]:
        """Scan again, ungated; with edits, step by step where they apply.

        Args:
            u: another input, (batch, channels, length); None takes this call's.
            skip: whether to add D * u.
            backend: as in :func:`mamba_mender.ops.selective_scan`.

        Returns:
            y, (batch, channels, length), and the last state, (batch, channels, state).
        """
        if self.edits:
            return edited_scan(self if u is None else replace(self, u=u), skip=skip, backend=backend)
        return selective_scan(
            self.u if u is None else u,
            self.delta,
            self.A,
            self.B,
            self.C,
            self.D if skip else None,
            None,
            self.delta_bias,
            self.delta_softplus,
            return_last_state=True,
            initial_state=self.initial_state,
            reverse=self.reverse,
            backend=backend,
        )

    def _map(self, function: Callable[[str, Tensor], Tensor]) -> Self:
        """Replace every tensor by what a function of its name and itself gives."""
        tensors = {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}
        changed: dict[str, Any] = {name: function(name, t) for name, t in tensors.items()}
        return replace(self, **changed)
