"""The guard's theory on real states: what is proved, what is measured, and where a condition does not hold."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mamba_mender._check import UserError
from mamba_mender.repair.guard.config import GuardConfig
from mamba_mender.repair.guard.gains import has_thresholds
from mamba_mender.repair.guard.guarded_model import GuardedModel
from mamba_mender.repair.guard.repair_analysis import keeping_states
from mamba_mender.repair.guard.site_guard import MOVED
from mamba_mender.repair.guard.site_theory import SiteTheory, site_theory

STALE = 1e-3  # gap beyond which the applied maps are said not to be those of the theorem
BELIEVED = 0.05  # relative difference of source and samples that is passed over
GAUSSIAN = 0.5  # excess kurtosis that is passed over


@dataclass(frozen=True)
class GuardTheory:
    """What is proved of a guard's repair, beside what is measured on a batch.

    sites: where states were realigned, by key, in the order of the model.
    strength: g.
    tolerance: share of a shift that is left when running moments are said to have arrived.
    flagged: share of the samples that were flagged.
    lipschitz: product of the sites' operator norms, for a sample that is flagged before the first of them; what the
        model does in between is not in it.
    lipschitz_healthy: 1, of the repair of samples that are not flagged.
    radius: the largest spectral radius of the moments' dynamics over the sites.
    conditions: of the theorems, those that do not hold here, in words.
    """

    sites: dict[str, SiteTheory]
    strength: float
    tolerance: float
    flagged: float
    lipschitz: float
    lipschitz_healthy: float
    radius: float
    conditions: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Give everything by name, as JSON has it."""
        return asdict(self)


def guard_theory(guarded: GuardedModel, inputs: Tensor, *, tolerance: float = 0.05) -> GuardTheory:
    """Compare what is proved of the repair with what it does to one batch; what the guard remembers is left as it is.

    For Gaussian laws and optimal transport maps, u -> (1 - g) u + g (m + T (u - m_seen)) leaves (1 - g) of the distance
    W2 to the healthy law, so V = W2^2 / 2 falls by (1 - g)^2; and running moments that learn at a rate r leave (1 - r)
    of a fixed shift at each step. Both are checked in float64 on the laws that the guard used.

    Args:
        guarded: the guarded model; it repairs only where it finds the stream shifted.
        inputs: a shifted batch, (samples, ...).
        tolerance: share of a shift that is left when running moments are said to have arrived, in (0, 1).

    Returns:
        A :class:`GuardTheory`.

    Raises:
        UserError: the guard repaired nothing on this batch, or the tolerance is out of range.

    Source: McCann, A convexity principle for interacting gases (1997), for the geodesic.
    """
    if not 0 < tolerance < 1:
        raise UserError(f"guard_theory: tolerance must lie in (0, 1), got {tolerance}.")
    with torch.no_grad(), guarded.held(), keeping_states(guarded):
        guarded(inputs)
    passage, guards = guarded.last, guarded.guards()
    assert passage is not None
    shares = None if passage.composition is None else passage.composition.shares
    sites = {
        key: site_theory(report, guards[key].law, shares, config=guarded.config, tolerance=tolerance)
        for key, report in passage.reports.items()
        if report.realignment is not None
    }
    if not sites:
        raise UserError("guard_theory: the guard repaired nothing on this batch; give a batch of a shifted stream.")
    assert passage.flagged is not None
    flagged = float(passage.flagged.double().mean())
    lipschitz = 1.0
    for site in sites.values():
        lipschitz *= site.norm
    return GuardTheory(
        sites=sites,
        strength=guarded.config.strength,
        tolerance=tolerance,
        flagged=flagged,
        lipschitz=lipschitz,
        lipschitz_healthy=1.0,
        radius=max(site.radius for site in sites.values()),
        conditions=[*_of_settings(guarded.config), *_of_states(sites, flagged)],
    )


def _of_settings(config: GuardConfig) -> Iterator[str]:
    """Say which conditions the settings break."""
    if config.repair == "whiten":
        yield (
            "repair 'whiten' restores the moments whole at strength 1, but is not the optimal transport map: a partial "
            "step leaves the geodesic, and (1 - g) is not proved."
        )
    elif config.repair != "transport":
        yield (
            f"repair '{config.repair}' moves single tokens and no moments: (1 - g) is not proved; what is measured of "
            "the maps is what 'transport' would do, and only the distances of the states are of this repair."
        )
    if not config.hebbian:
        yield "hebbian is off: each channel's scale is set alone, so correlations stay, and (1 - g) is not proved."
    if not config.homeostasis:
        yield "homeostasis is off: the target keeps the mean and activity of what is seen; W2 is to that target."
    if config.metaplasticity and config.plasticity and config.mode == "running":
        yield (
            "metaplasticity changes the rate: the bound on the steps holds at the slowest rate; surprise and a change "
            "of health are faster."
        )
    if config.plasticity and config.mode == "running" and (config.potentiation, config.depression) != (1, 1):
        yield "potentiation and depression slow the learning of correlations below the rate: the bound need not hold."
    if config.plasticity and config.mode == "running" and has_thresholds(config):
        yield "changes within the thresholds of plasticity are not learned: the moments need not arrive; no steps."
    if not config.plasticity or config.mode != "running":
        yield "nothing is learned along the stream, so the running moments have no dynamics: the radius is 1."


def _of_states(sites: dict[str, SiteTheory], flagged: float) -> Iterator[str]:
    """Say which conditions the states break."""
    if stale := [key for key, site in sites.items() if site.gap > max(STALE, 10 * site.exact_gap)]:
        worst = max(sites[key].gap for key in stale)
        yield (
            f"at {', '.join(stale)} the applied maps are not exactly those of these moments (other maps, or maps at "
            f"hand that were kept while the moments moved by less than {MOVED:.0%}): the distance is off by up to "
            f"{worst:.2g} of it."
        )
    heavy = {key: site.kurtosis for key, site in sites.items() if abs(site.kurtosis) > GAUSSIAN}
    if heavy:
        worst = max(heavy.values(), key=abs)
        yield (
            f"the states at {', '.join(heavy)} are not Gaussian (excess kurtosis up to {worst:.2g}): W2 between "
            "Gaussian laws of the same moments is then a lower bound of the distance, and only these moments are "
            "restored."
        )
    unlike = [
        key for key, site in sites.items() if abs(site.states_before - site.before) > BELIEVED * site.states_before
    ]
    if unlike:
        yield (
            f"at {', '.join(unlike)} the law that was moved is what is remembered, weighed by the evidence, and not "
            "that of this batch: the batch's own distance falls by another share."
        )
    if (moved := max(site.mix_moved for site in sites.values())) > 0:
        yield (
            f"the target is the healthy law of the classes that are shown, {100 * moved:.0f} % of the mix away from "
            "healthy data's: the distance to that law falls, not to the law of all healthy data."
        )
    if 0 < flagged < 1:
        yield (
            f"the gate is not constant ({100 * flagged:.0f} % of the samples are flagged): the Lipschitz bounds hold "
            "between two flagged samples, or two others, and the map jumps where a sample becomes flagged."
        )
    if len(sites) > 1:
        yield (
            "each repair changes what reaches the next site: V falls at each, and no statement about all of them "
            "together, or about the accuracy, follows."
        )
