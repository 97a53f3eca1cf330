"""What is left of the old state against what the token writes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.dynamics.scan_terms import exact_dtype, scan_terms
from mamba_mender.inspection.result import Result
from mamba_mender.taps import ScanRecord, derived


@dataclass(frozen=True)
class Contribution(Result):
    """What the old state and the new write put into each state; padding is NaN and does not count.

    old: norm over all channels of exp(step A) h[t-1], (batch, length), in the record's order.
    new: norm over all channels of step B u, (batch, length).
    share: old / (old + new), (batch, length): 0 where all is new, 1 where nothing is written.
    channel_share: the same share of each channel, mean over the tokens where it is defined, (batch, channels).
    """

    old: Tensor
    new: Tensor
    share: Tensor
    channel_share: Tensor


@derived
@torch.no_grad()
def contribution(record: ScanRecord) -> Contribution:
    """Compare what is left of the old state with what each token writes, in one pass that keeps no trajectory.

    Computes ``|exp(step[t] A) h[t-1]|``, ``|step[t] B[t] u[t]|`` and the first one's share in their sum. The state
    is computed in float32 (float64 if the record is) and summed in float64.

    Args:
        record: the scan.

    Returns:
        Norms and shares; a share is NaN where both norms are 0.

    Raises:
        ValueError: the recurrence was edited.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8)) as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> contribution(run["layers.0.mixer.forward_scan"]).share[0, 0]  # the first token finds an empty state
        tensor(0., dtype=torch.float64)

    Source: the two terms of the recurrence in Gu & Dao, "Mamba" (arXiv:2312.00752), equation 2a.
    """
    terms = scan_terms("contribution", record, dtype=exact_dtype(record), padding_steps=True)
    old, new, shares = [], [], terms.step.new_zeros(record.batch, record.channels, dtype=torch.float64)
    defined = torch.zeros_like(shares)
    for stretch in terms.states():
        left = (stretch.decay * stretch.before).square().sum(-1).double()  # (positions, batch, channels)
        added = stretch.write.square().sum(-1).double()
        share = _share(left.sqrt(), added.sqrt())
        counts = terms.real[:, stretch.part].T[..., None] & ~share.isnan()
        shares += torch.where(counts, share, 0).sum(0)
        defined += counts.sum(0)
        old.append(left.sum(-1).sqrt())
        new.append(added.sum(-1).sqrt())
    norms = (torch.where(terms.real, torch.cat(each).T, torch.nan) for each in (old, new))
    kept, written = (terms.as_recorded(each) for each in norms)
    return Contribution(kept, written, _share(kept, written), shares / defined)


def _share(part: Tensor, rest: Tensor) -> Tensor:
    return part / (part + rest)
