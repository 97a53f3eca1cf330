"""What the state before the first position adds to a scan's output."""

import torch
from torch import Tensor

from mamba_mender.taps import ScanRecord


@torch.no_grad()
def initial_state_output(record: ScanRecord) -> Tensor:
    """Compute what the initial state adds to y: the attention to what came before the sequence.

    Computes ``<C[i], exp(A (step[0] + ... + step[i])) h[-1]>``, the third term of
    ``y = (alpha + diag D) u + initial``; zeros where the scan starts from nothing.

    Args:
        record: the scan.

    Returns:
        The contribution, before the gate, (batch, channels, length), in image order.

    Raises:
        ValueError: the recurrence was edited.

    Example:
        >>> from mamba_mender.taps import record
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8)
        >>> with record(model, "") as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> initial_state_output(run["layers.0.mixer.forward_scan"]).abs().max()
        tensor(0.)

    Source: Ali, Zimerman & Wolf, "The Hidden Attention of Mamba Models" (arXiv:2403.01590), with a state before it.
    """
    if record.edits:
        raise ValueError(f"initial_state_output: the recurrence of {record.name} was edited; record it without edits.")
    exact = torch.promote_types(record.u.dtype, torch.float32)
    nothing = torch.zeros_like(record.u, dtype=exact)
    return nothing if record.initial_state is None else record.scan(nothing, skip=False)[0]
