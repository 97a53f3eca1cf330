"""How much of the output comes past the state."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.result import Result
from mamba_mender.taps import ScanRecord, derived


@dataclass(frozen=True)
class SkipShare(Result):
    """What the skip D u and the state put into y; padding is NaN and does not count.

    skip: norm over the channels of D u, (batch, length), in the record's order.
    state: norm over the channels of <C, h>, (batch, length).
    share: skip / (skip + state), (batch, length): 0 where all comes from the state, 1 where all comes past it.
    channel_share: the same with norms over the tokens, (batch, channels).

    A share is NaN where both norms are 0.
    """

    skip: Tensor
    state: Tensor
    share: Tensor
    channel_share: Tensor


@derived
@torch.no_grad()
def skip_share(record: ScanRecord) -> SkipShare:
    """Measure the share of the skip in the output of a scan, before the gate.

    Computes ``|D u| / (|D u| + |<C, h>|)`` with norms over the channels at each position, and over the tokens for
    each channel, in float64. The two terms may cancel in y, so their norms need not add up to that of y.

    Args:
        record: the scan; where its recurrence was edited, the state is that of the edited one.

    Returns:
        Norms and shares; the share is 0 where there is no D.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8)) as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> tuple(skip_share(run["layers.0.mixer.forward_scan"]).channel_share.shape)
        (1, 64)

    Source: the two terms of y in Gu & Dao's code for "Mamba" (arXiv:2312.00752), selective_scan_ref.
    """
    exact = record.to(torch.float64)
    read, _ = exact.scan(skip=False)
    past = torch.zeros_like(read) if exact.D is None else exact.D[:, None] * exact.u
    real = torch.ones_like(past[:, 0], dtype=torch.bool) if record.mask is None else record.mask.bool()
    read, past = (torch.where(real[:, None], each, 0) for each in (read, past))
    skip, state = (torch.where(real, each.norm(dim=1), torch.nan) for each in (past, read))
    by_channel = past.norm(dim=-1)
    return SkipShare(skip, state, skip / (skip + state), by_channel / (by_channel + read.norm(dim=-1)))
