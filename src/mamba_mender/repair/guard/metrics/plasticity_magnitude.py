"""How much a step of learning changed what a guard remembers."""

import torch

from mamba_mender.repair.guard.memory import Learning


def plasticity_magnitude(learning: Learning | None) -> float:
    """Measure the change of the running correlation by one step of learning.

        mean over bands of |after - before| / max(after, before)

    with before and after the activity of a band, the trace of its correlation, before potentiation and depression
    scale the step.

    It is 0 where nothing is learned or nothing new was seen, and 1 where all activity is new or is gone.

    Args:
        learning: of a :class:`SiteReport`; None where a site learned nothing.

    Returns:
        A number in [0, 1].
    """
    if learning is None:
        return 0.0
    change = learning.change.detach().double().nan_to_num(0.0, torch.inf)  # after / before - 1; of nothing: none
    gained = change.clamp_min(0)
    share = (gained / (1 + gained)).nan_to_num(1.0) + (-change).clamp(0, 1)  # infinity / infinity: all is new
    return float(share.mean())
