"""What one scan read and wrote, with the means to prove it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.ops import selective_scan


@dataclass(frozen=True)
class Proof:
    """How far a recorded scan lies from the same scan in float64.

    y_error: largest error of y, relative to the largest absolute value of y.
    state_error: the same for the last state.
    """

    y_error: float
    state_error: float


@dataclass(frozen=True, eq=False)
class ScanRecord:
    """Hold everything that went into and came out of one scan.

    name: the scan's module name, e.g. "layers.3.mixer.forward_scan".
    direction: "forward" or "backward".
    reverse: whether the scan ran from the last position to the first; tensors are in image order either way.
    u: input, (batch, channels, length).
    delta: step size before bias and softplus, (batch, channels, length).
    A: decay rate, (channels, state).
    B, C: input and output matrices, (batch, state, length), (batch, groups, state, length) or (channels, state).
    D: skip weight, (channels) or None.
    z: gate before its SiLU, (batch, channels, length) or None; applied after y.
    delta_bias: added to delta, (channels) or None.
    delta_softplus: whether the step is softplus(delta + delta_bias).
    y: output with the skip, before the gate, (batch, channels, length).
    last_state: state after the last step scanned, (batch, channels, state).
    """

    name: str
    direction: str
    reverse: bool
    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    delta_softplus: bool
    y: Tensor
    last_state: Tensor

    @torch.no_grad()
    def proof(self) -> Proof:
        """Recompute y and the last state in float64 with the reference, and measure the largest errors.

        Works through the batch one sample at a time, so that memory stays small.

        Returns:
            The errors, relative to the largest absolute value of what was recomputed.

        Raises:
            ValueError: the record holds no sample.
        """
        if len(self.u) == 0:
            raise ValueError(
                f"ScanRecord.proof: {self.name} was recorded on an empty batch; record at least one sample."
            )
        y_error, y_size, state_error, state_size = 0.0, 0.0, 0.0, 0.0
        for i in range(len(self.u)):
            y, last = self._again(i)
            y_error = _larger(y_error, self.y[i : i + 1] - y)
            state_error = _larger(state_error, self.last_state[i : i + 1] - last)
            y_size, state_size = _larger(y_size, y), _larger(state_size, last)
        return Proof(_relative(y_error, y_size), _relative(state_error, state_size))

    def _again(self, i: int) -> tuple[Tensor, Tensor]:
        """Scan sample i again in float64."""
        B, C = (t.double() if t.dim() == 2 else t[i : i + 1].double() for t in (self.B, self.C))
        return selective_scan(
            self.u[i : i + 1].double(),
            self.delta[i : i + 1].double(),
            self.A.double(),
            B,
            C,
            None if self.D is None else self.D.double(),
            None,
            None if self.delta_bias is None else self.delta_bias.double(),
            self.delta_softplus,
            return_last_state=True,
            reverse=self.reverse,
            backend="reference",
        )


def _larger(so_far: float, values: Tensor) -> float:
    """Take the larger of a number and the largest absolute value; NaN wins."""
    largest = values.abs().max().item()
    return largest if largest != largest else max(so_far, largest)


def _relative(error: float, size: float) -> float:
    return error / size if size else error
