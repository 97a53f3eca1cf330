"""What is healthy at one site of a model."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from mamba_mender.repair.guard.contents import Contents, nearest_class
from mamba_mender.repair.guard.drift import BLOCKS, SLACK, HealthyBlocks, StreamDrift
from mamba_mender.repair.guard.health import Gauge
from mamba_mender.repair.guard.law import Law, Modes
from mamba_mender.repair.guard.layer_link import LayerLink

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
    radius: distance sqrt((u - mean)^T precision (u - mean)) that 95 % of healthy tokens keep, a number.
    drift_limit: largest misfit of the mean of a healthy stream, a number; see :class:`StreamDrift`.
    samples: healthy samples behind all this.
    link: healthy correlation with the layer before; None where nothing is before.
    """

    means: Tensor
    mix: Tensor
    within: Tensor
    modes: Modes
    empty: Tensor | None
    gauge: Gauge
    radius: Tensor
    drift_limit: Tensor
    samples: int
    link: LayerLink | None = None

    @property
    def contents(self) -> Contents | None:
        """What a mean is told apart by; None with one class or without an empty state."""
        if self.empty is None or len(self.mix) < 2:
            return None
        variance = self.modes.pooled(self.within.diagonal(dim1=-2, dim2=-1))
        return Contents(self.means, self.mix, self.empty, variance.sqrt())

    @property
    def rarity(self) -> float:
        """Bound how often a healthy sample is taken for faulty at any place: it would be stranger than all held out."""
        return 1 / (self.gauge.scores.shape[1] + 1)

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
        ridge = RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance)).to(covariance)
        precision = torch.linalg.inv(covariance + ridge).to(profiles)
        gauge = replace(
            self.gauge, profile_mean=mean, profile_precision=precision, activity=activity, correlation=correlation
        )
        return replace(self, gauge=gauge, radius=radius)

    def with_drift_limit(self, blocks: HealthyBlocks) -> "SiteLaw":
        """Set the limit of drift by blocks of held-out states."""
        drift, means = self.drift(), blocks.means()
        if drift is None:
            return self
        known = len(means) >= BLOCKS  # fewer do not say what is usual
        limit = SLACK * max(drift.misfit(*block) for block in means) if known else torch.inf
        return replace(self, drift_limit=torch.tensor(limit))

    def tensors(self) -> dict[str, Tensor]:
        """List the tensors by name; :meth:`of_tensors` makes them a law again."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)}
        gauge = {f"gauge.{f.name}": getattr(self.gauge, f.name) for f in fields(self.gauge)}
        basis = {} if self.modes.basis is None else {"modes.basis": self.modes.basis}
        link = {} if self.link is None else {f"link.{name}": tensor for name, tensor in self.link.tensors().items()}
        counts = {"modes.edges": torch.tensor(self.modes.edges), "count": torch.tensor(self.samples)}
        return own | gauge | basis | link | counts

    @classmethod
    def of_tensors(cls, tensors: dict[str, Tensor]) -> "SiteLaw":
        """Make a law of its tensors by name."""
        gauge = Gauge(**{f.name: tensors[f"gauge.{f.name}"] for f in fields(Gauge)})
        modes = Modes(tensors.get("modes.basis"), tuple(tensors["modes.edges"].tolist()))
        link = {n.removeprefix("link."): t for n, t in tensors.items() if n.startswith("link.")}
        plain: dict[str, Any] = {n: t for n, t in tensors.items() if "." not in n and n != "count"}
        plain = {"empty": None, **plain}
        plain["link"] = LayerLink(**link) if link else None
        return cls(modes=modes, gauge=gauge, samples=int(tensors["count"]), **plain)
