"""How healthy the states of a batch are, as one number."""

from collections.abc import Mapping

import torch

from mamba_mender.repair.guard.passage import Passage
from mamba_mender.repair.guard.site_law import SiteLaw


def state_health_score(passage: Passage, laws: Mapping[str, SiteLaw], *, alpha: float) -> float:
    """Average the health of samples, each at the site where it is worst.

        mean_n min_s (h_ns - l_s) / (1 - l_s)

    with h the health of sample n at site s, and l_s the least that the p-values of the site's calibration samples
    allow; what faults put below it counts as 0. Places that are watched for faults alone count as they are.

    It is 0 where every sample is stranger than all calibration samples, and 1 where all are healthy at all sites.

    Args:
        passage: of a forward pass, :attr:`GuardedModel.last`.
        laws: healthy statistics by site.
        alpha: of the guard's settings.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: the pass reached no site.
    """
    if not passage.reports:
        raise ValueError("state_health_score: the pass reached no site; give the `last` of a model that has run.")
    found = []
    for weight, (key, report) in zip(passage.weights, passage.reports.items(), strict=False):
        law, most = laws[key], weight * max(passage.measure_weights)
        reach = (alpha - law.rarity) * (law.gauge.scores.shape[1] + 1) * most  # 1 / least health
        found.append(report.health if reach <= 1 else ((reach * report.health - 1) / (reach - 1)).clamp(0, 1))
    found += [1 / (1 + counts) for counts in passage.faults.values()]
    return float(torch.stack([each.double() for each in found]).amin(0).mean())
