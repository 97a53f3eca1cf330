"""A place where states are watched for faults alone: mended, but neither judged nor remembered."""

from dataclasses import dataclass, fields

from torch import Tensor, nn

from mamba_mender.repair.guard.fault_mending import find_faults, mend_faults


@dataclass(frozen=True)
class FaultLaw:
    """What tells a fault in a state, and what stands in its place.

    centre: healthy mean, (tokens, channels) or (1, channels).
    farthest: largest healthy deviation from it, (channels,).
    precision: inverse covariance of a token, (channels, channels).
    """

    centre: Tensor
    farthest: Tensor
    precision: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """List the tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class FaultWatch(nn.Module):
    """Mend the faults of one state as it passes.

    Args:
        law: what tells a fault.

    Example:
        >>> import torch
        >>> watch = FaultWatch(FaultLaw(torch.zeros(1, 2), torch.ones(2), torch.eye(2)))
        >>> mended, faults = watch(torch.tensor([[[0.5, float("nan")]]]))
        >>> mended.tolist(), faults.tolist()
        ([[[0.5, 0.0]]], [1])
    """

    centre: Tensor
    farthest: Tensor
    precision: Tensor

    def __init__(self, law: FaultLaw) -> None:
        super().__init__()
        for name, tensor in law.tensors().items():
            self.register_buffer(name, tensor.clone())

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Give mended states, (samples, tokens, channels), and the faulty entries of each sample, (samples,).

        The same tensor comes back where there is no fault.
        """
        faulty = find_faults(states, self.centre, self.farthest)
        counts = faulty.sum((1, 2))
        if not bool(counts.any()):
            return states, counts
        mended = mend_faults(states.to(self.centre.dtype), faulty, self.centre, self.precision)
        return mended.to(states.dtype), counts
