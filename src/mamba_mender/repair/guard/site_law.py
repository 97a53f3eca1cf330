"""What is healthy at one site of a model."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from mamba_mender.repair.guard.contents import Contents, nearest_class
from mamba_mender.repair.guard.drift import BLOCKS, SLACK, StreamDrift, healthy_blocks
from mamba_mender.repair.guard.fault_watch import FaultLaw
from mamba_mender.repair.guard.health import Gauge
from mamba_mender.repair.guard.law import Law, Modes

RIDGE = 1e-3  # of the mean variance, added to a covariance before it is inverted


@dataclass(frozen=True)
class SiteLaw:
    """Healthy statistics of one site, from correct predictions on healthy data.

    means: by class, (classes, tokens, channels); one class and (1, 1, channels) where they are not told apart.
    mix: shares of the classes, (classes,).
    within: covariance of each band about the class means, (bands, channels, channels).
    modes: token modes.
    empty: state of an empty image, (tokens, channels); None where there is no such thing.
    gauge: what non-conformity is measured by.
    farthest: largest deviation of any healthy entry from its mean, by channel, (channels,).
    radius: distance sqrt((u - mean)^T precision (u - mean)) that 95 % of healthy tokens keep, a number.
    drift_limit: largest misfit of the mean of a healthy stream, a number; see :class:`StreamDrift`.
    samples: healthy samples behind all this.
    """

    means: Tensor
    mix: Tensor
    within: Tensor
    modes: Modes
    empty: Tensor | None
    gauge: Gauge
    farthest: Tensor
    radius: Tensor
    drift_limit: Tensor
    samples: int

    @property
    def contents(self) -> Contents | None:
        """What a mean is told apart by; None with one class or without an empty state."""
        if self.empty is None or len(self.mix) < 2:
            return None
        weight = self.modes.widths(self.means.shape[1]).to(self.within)
        variance = (self.within.diagonal(dim1=-2, dim2=-1) * weight[:, None]).sum(0) / weight.sum()
        return Contents(self.means, self.mix, self.empty, variance.sqrt())

    def rarity(self, sites: int) -> float:
        """Bound how often a healthy sample has an entry out of range at any of so many sites.

        Each time it would be the farthest of all the healthy samples behind the law, four times over.
        """
        return sites / (self.samples + self.gauge.scores.shape[1] + 1)

    @property
    def faults(self) -> FaultLaw:
        """What tells a fault here."""
        return FaultLaw(self.gauge.centre, self.farthest, self.gauge.precision)

    def drift(self) -> StreamDrift | None:
        """Make what watches the mean of a stream here; None where classes are not told apart."""
        if self.contents is None:
            return None
        return StreamDrift(self.means, self.within, self.modes, float(self.drift_limit))

    def law(self, shares: Tensor | None = None) -> Law:
        """Give the healthy law of a mix of classes: the mean of their means, the scatter within and between them."""
        shares = self.mix if shares is None else shares
        mean = torch.einsum("k,ktc->tc", shares, self.means)
        if len(shares) == 1:
            return Law(mean, self.within)
        apart = self.modes.split(self.means - mean)
        between = [torch.einsum("k,kmc,kmd->cd", shares, d, d) / d.shape[1] for d in apart]
        return Law(mean, self.within + torch.stack(between))

    def kinds_of(self, states: Tensor) -> Tensor:
        """Guess which class each sample shows, (samples,); all 0 where classes are not told apart."""
        if self.contents is None:
            return torch.zeros(len(states), dtype=torch.long, device=states.device)
        return nearest_class(states, self.contents)

    def with_scores(self, scores: Tensor, kinds: Tensor) -> "SiteLaw":
        """Set the calibration scores, (measures, samples), and what the samples seem to show, (samples,)."""
        gauge = replace(self.gauge, scores=scores.sort(-1).values, distances=scores[0], kinds=kinds)
        return replace(self, gauge=gauge)

    def with_usual(self, profiles: Tensor, activity: Tensor, correlation: Tensor, radius: Tensor) -> "SiteLaw":
        """Set what is usual: profiles of samples, (samples, numbers), mean activity and correlation, and the radius."""
        mean = profiles.mean(0)
        away = (profiles - mean).double()
        covariance = away.mT @ away / len(away)
        ridge = RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
        precision = torch.linalg.inv(covariance + ridge.to(covariance)).to(profiles)
        gauge = replace(
            self.gauge, profile_mean=mean, profile_precision=precision, activity=activity, correlation=correlation
        )
        return replace(self, gauge=gauge, radius=radius)

    def with_drift_limit(self, states: Tensor, classes: Tensor) -> "SiteLaw":
        """Set the limit of drift by held-out states, (samples, tokens, channels), and their classes, (samples,)."""
        drift = self.drift()
        if drift is None:
            return self
        blocks = healthy_blocks(states, classes)
        limit = SLACK * drift.worst(blocks) if len(blocks) >= BLOCKS else torch.inf  # too few to know what is usual
        return replace(self, drift_limit=torch.tensor(limit))

    def tensors(self) -> dict[str, Tensor]:
        """List the tensors by name; :meth:`of_tensors` makes them a law again."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)}
        gauge = {f"gauge.{f.name}": getattr(self.gauge, f.name) for f in fields(self.gauge)}
        basis = {} if self.modes.basis is None else {"modes.basis": self.modes.basis}
        return (
            own | gauge | basis | {"modes.edges": torch.tensor(self.modes.edges), "count": torch.tensor(self.samples)}
        )

    @classmethod
    def of_tensors(cls, tensors: dict[str, Tensor]) -> "SiteLaw":
        """Make a law of its tensors by name."""
        gauge = Gauge(**{f.name: tensors[f"gauge.{f.name}"] for f in fields(Gauge)})
        modes = Modes(tensors.get("modes.basis"), tuple(tensors["modes.edges"].tolist()))
        plain: dict[str, Any] = {n: t for n, t in tensors.items() if "." not in n and n != "count"}
        plain = {"empty": None, **plain}
        return cls(modes=modes, gauge=gauge, samples=int(tensors["count"]), **plain)
