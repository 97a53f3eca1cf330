"""How many of the unhealthy samples were repaired."""

import torch

from mamba_mender.repair.guard.passage import Passage


def repair_ratio(passage: Passage) -> float:
    """Measure the share of unhealthy samples that were repaired.

    repaired and unhealthy / unhealthy. A sample is unhealthy where its health is below 1 anywhere, and repaired where
    its faults were mended, or it was flagged and a site moved the flagged states.

    It is 0 where unhealthy samples pass as they are, as single false alarms of a healthy stream do and all samples of
    a frozen guard that remembers nothing; it is 1 where each is repaired, and where none is unhealthy.

    Args:
        passage: of a forward pass, :attr:`GuardedModel.last`.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: the pass reached no site.
    """
    if not passage.reports:
        raise ValueError("repair_ratio: the pass reached no site; give the `last` of a model that has run.")
    reports = list(passage.reports.values())
    faults = [*(report.faults for report in reports), *passage.faults.values()]
    repaired = torch.stack([counts > 0 for counts in faults]).any(0)
    unhealthy = torch.stack([repaired, *(report.health < 1 for report in reports)]).any(0)
    repaired = repaired & passage.mends
    if not bool(unhealthy.any()):
        return 1.0
    if passage.flagged is not None and any(report.realignment is not None for report in reports):
        repaired = repaired | passage.flagged
    return float((repaired & unhealthy).sum() / unhealthy.sum())
