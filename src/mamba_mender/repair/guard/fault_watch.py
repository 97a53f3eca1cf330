"""A place where states are watched for faults."""

import torch
from torch import Tensor, nn

from mamba_mender.repair.guard.fault_law import FaultLaw
from mamba_mender.repair.guard.fault_mending import find_faults, mend_faults


class FaultWatch(nn.Module):
    """Find the faults of one state as it passes, and mend them.

    Args:
        law: what tells a fault.
        mend: without it faults are counted, and left.

    Example:
        >>> one, none = torch.ones(2), torch.zeros(2)
        >>> law = FaultLaw(torch.zeros(1, 2), one, torch.zeros(1, 0), torch.zeros(0, 2), torch.eye(2), one, none)
        >>> mended, faults = FaultWatch(law)(torch.tensor([[[0.5, float("nan")]]]))
        >>> mended.tolist(), faults.tolist()
        ([[[0.5, 0.0]]], [1])
    """

    def __init__(self, law: FaultLaw, *, mend: bool = True) -> None:
        super().__init__()
        self.mend = mend
        for name, tensor in law.tensors().items():
            self.register_buffer(name, tensor.clone())

    @property
    def law(self) -> FaultLaw:
        """What tells a fault here."""
        return FaultLaw(**dict(self.named_buffers()))

    def forward(self, states: Tensor, sent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Look at states, (samples, tokens, channels), and at what the layer before sent on, or None.

        Returns:
            Mended states, the same tensor where there is no fault; and the faulty entries of each sample, (samples,).
        """
        law = self.law
        own = states.to(law.centre.dtype)
        faulty = find_faults(own, sent, law)
        if faulty is None:
            return states, torch.zeros(len(states), dtype=torch.long, device=states.device)
        counts = faulty.sum((1, 2))
        if not self.mend:
            return states, counts
        return mend_faults(own, faulty, law.expected(sent), law.precision).to(states.dtype), counts
