"""Measure what is healthy at the sites of a model, in a few passes over healthy inputs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender._progress import ProgressLine
from mamba_mender.nn.mode import in_mode
from mamba_mender.repair.guard.drift import HealthyBlocks
from mamba_mender.repair.guard.fault_law import FaultLaw
from mamba_mender.repair.guard.fault_survey import measure_ranges, place_before, unranged_fault_law, worst_scores
from mamba_mender.repair.guard.guarded_model import site_places
from mamba_mender.repair.guard.health import (
    RANK,
    Gauge,
    channel_activity,
    distance_profile,
    inner_correlation,
    nonconformity,
)
from mamba_mender.repair.guard.law import Modes, band_edges
from mamba_mender.repair.guard.layer_link import LayerLink, measure_links
from mamba_mender.repair.guard.matrix_power import matrix_power, shrink
from mamba_mender.repair.guard.site_law import SiteLaw
from mamba_mender.taps.spot import Point, listen
from mamba_mender.taps.tap import Tap

PASSES = 6  # over the samples that laws are fitted to
MOST_CLASSES = 32  # more are not told apart: their means would outweigh the model
FEW = 4  # coefficients a channel, below which a covariance is not trusted
RIDGE = 1e-3  # of the mean variance, added to the covariance of a few numbers before it is inverted


@dataclass(frozen=True)
class Inputs:
    """Healthy inputs of a model, in batches.

    batches: called, gives (inputs, labels or None) again and again in the same order.
    count: of samples.
    classes: of the labels; 0 without labels.
    empty: an input that shows nothing, (1, ...); None where there is no such thing.
    positions: whether the same position means the same place in every sample, as in images.
    """

    batches: Callable[[], Iterator[tuple[Tensor, Tensor | None]]]
    count: int
    classes: int
    empty: Tensor | None
    positions: bool


class _Watch(Tap):
    """Keep the states of one batch."""

    def __init__(self, keys: dict) -> None:
        self._keys, self.states = keys, {}

    def point(self, point: Point, value: Tensor) -> Tensor:
        self.states[self._keys[point.key]] = value.detach().float()
        return value


def watch(model: nn.Module, keys: Sequence[str], inputs: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Run a model once, and give the states at its sites, (samples, tokens, channels), as they come, and its output."""
    places = site_places(model, keys)
    tap = _Watch({point.key: str(key) for key, point in places.points.items()})
    with listen(tap, places.spots()):
        out = model(inputs)
    if unreached := [key for key in keys if key not in tap.states]:
        raise UserError(f"StateGuard: the model's pass never reaches {unreached[0]!r}; name other sites.")
    return tap.states, getattr(out, "logits", out)


def measure_laws(
    model: nn.Module, keys: Sequence[str], fit: Inputs, held_out: Inputs, *, bands: int, progress: bool = False
) -> tuple[dict[str, SiteLaw], dict[str, FaultLaw]]:
    """Measure what is healthy at places: six passes over one set, one over another for the conformal scores.

    Means by class, then token modes, covariances by band, what is usual, and how layers go together, all about correct
    predictions; then the scores of every held-out sample, whether predicted right or wrong, since those are what new
    samples are exchangeable with. No held-out sample has a fault: where one would have, all limits are widened.

    Args:
        model: the model.
        keys: of the places.
        fit: what the statistics are of.
        held_out: disjoint from it.
        bands: of token modes.
        progress: show a bar when it lasts longer than two seconds.

    Returns:
        For each key, in the order in which the model reaches them, a law, and what tells a fault.

    Raises:
        UserError: the model predicts no sample right, or states are not finite.
    """
    total = PASSES * fit.count + held_out.count
    with (
        in_mode(model, training=False),
        torch.no_grad(),
        ProgressLine(total, label="calibrate", shown=progress) as line,
    ):
        keys = list(watch(model, keys, next(fit.batches())[0][:1])[0])
        survey = _Survey(model, keys, fit, line)
        laws = survey.laws(survey.means(), bands)
        laws, faults = survey.faults(laws)
        trial = _Trial(laws, faults)
        for inputs, labels in held_out.batches():
            trial.add(watch(model, keys, inputs)[0], labels)
            survey.advance(len(inputs))
    return trial.scored()


class _Trial:
    """What held-out samples score at every place."""

    def __init__(self, laws: dict[str, SiteLaw], faults: dict[str, FaultLaw]) -> None:
        self.laws, self.faults, self.keys = laws, faults, list(laws)
        self.scores: dict[str, list[Tensor]] = {key: [] for key in laws}
        self.kinds: dict[str, list[Tensor]] = {key: [] for key in laws}
        self.blocks = {key: HealthyBlocks() for key in laws}
        self.worst = 1.0

    def add(self, states: dict[str, Tensor], labels: Tensor | None) -> None:
        """Score the states of a batch; the classes are guessed where there are no labels."""
        for key, value in states.items():
            if not bool(value.isfinite().all()):
                raise UserError(f"StateGuard: the held-out states at {key!r} are not finite; check model and data.")
            law = self.laws[key]
            self.scores[key].append(nonconformity(value, law.gauge, law.modes))
            self.kinds[key].append(law.kinds_of(value))
            if law.contents is not None:
                self.blocks[key].add(value, self.kinds[key][-1] if labels is None else labels)
        self.worst = max(self.worst, float(worst_scores(self.faults, self.keys, states).max()))

    def scored(self) -> tuple[dict[str, SiteLaw], dict[str, FaultLaw]]:
        """Give the laws with these scores."""
        laws = {}
        for key, law in self.laws.items():
            law = law.with_drift_limit(self.blocks[key])
            laws[key] = law.with_scores(torch.cat(self.scores[key], 1), torch.cat(self.kinds[key]))
        return laws, {key: law.widened(self.worst) for key, law in self.faults.items()}


@dataclass
class _Survey:
    """The passes over the fitted set."""

    model: nn.Module
    keys: Sequence[str]
    fit: Inputs
    line: ProgressLine
    done: int = 0

    def advance(self, samples: int) -> None:
        """Move the bar on."""
        self.done += samples
        self.line.advance(self.done)

    def healthy(self) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Give the states and classes of correct predictions, batch by batch."""
        for inputs, labels in self.fit.batches():
            states, out = watch(self.model, self.keys, inputs)
            classes = torch.zeros(len(inputs), dtype=torch.long, device=out.device)
            if labels is not None:
                right = out.argmax(-1) == labels
                states = {key: value[right] for key, value in states.items()}
                classes = labels[right] if self.told_apart else classes[right]
            self.advance(len(inputs))
            if len(classes):
                yield states, classes

    @property
    def told_apart(self) -> bool:
        return self.fit.positions and 2 <= self.fit.classes <= MOST_CLASSES

    def means(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Measure means by class, (classes, tokens, channels), and the classes' shares."""
        classes = self.fit.classes if self.told_apart else 1
        sums: dict[str, Tensor] = {}
        counts = torch.zeros(classes, dtype=torch.float64)
        for states, labels in self.healthy():
            counts += torch.bincount(labels, minlength=classes).cpu()
            for key, value in states.items():
                value = value.double()
                if not bool(value.isfinite().all()):
                    raise UserError(f"StateGuard: the healthy states at {key!r} are not finite; check model and data.")
                if not self.fit.positions:
                    value = value.mean(1, keepdim=True)
                zero = value.new_zeros(classes, *value.shape[1:])
                sums[key] = sums.get(key, zero).index_add(0, labels, value)
        if counts.sum() < 2:
            raise UserError("StateGuard: the model predicts no healthy sample right; give its own training data.")
        kept = counts > 0
        out = {}
        for key, total in sums.items():
            mean = total / counts.clamp_min(1)[:, None, None].to(total)
            whole = (counts[:, None, None].to(mean) * mean).sum(0) / counts.sum()
            out[key] = (
                torch.where(kept[:, None, None].to(mean.device), mean, whole),
                counts / counts.sum(),
            )
        return out

    def laws(self, first: dict[str, tuple[Tensor, Tensor]], bands: int) -> dict[str, SiteLaw]:
        """Measure the rest, given the means."""
        modes = self.modes(first, bands)
        within: dict[str, Tensor] = {}
        samples = 0
        for states, labels in self.healthy():
            samples += len(labels)
            for key, value in states.items():
                centred = value.double() - first[key][0][labels]
                split = modes[key].split(centred)
                moment = torch.stack([torch.einsum("nmc,nmd->cd", c, c) / c.shape[1] for c in split])
                within[key] = within.get(key, 0) + moment
        empty = {} if self.fit.empty is None or not self.told_apart else watch(self.model, self.keys, self.fit.empty)[0]
        laws = {}
        for key in self.keys:
            means, mix = first[key]
            scatter = (within[key] / samples).float()
            blank = empty[key][0] if key in empty else None
            laws[key] = _site_law(means.float(), mix.float(), scatter, modes[key], blank, samples)
        return self.gauged(laws)

    def modes(self, first: dict[str, tuple[Tensor, Tensor]], bands: int) -> dict[str, Modes]:
        """Find the token modes: principal directions over positions, channels weighed by their healthy spread."""
        if not self.fit.positions:
            return {key: Modes(None, (0, 1)) for key in self.keys}
        scatter: dict[str, Tensor] = {}
        for states, _ in self.healthy():
            for key, value in states.items():
                means, mix = first[key]
                centre = torch.einsum("k,ktc->tc", mix.to(means), means)
                centred = value.double() - centre
                spread = centred.square().mean((0, 1)).sqrt().clamp_min(1e-12)
                scatter[key] = scatter.get(key, 0) + torch.einsum("ntc,nsc->ts", centred / spread, centred / spread)
        found = {}
        for key, matrix in scatter.items():
            basis = torch.linalg.eigh(matrix).eigenvectors.flip(-1).float()
            found[key] = Modes(basis, band_edges(len(matrix), bands))
        return found

    def gauged(self, laws: dict[str, SiteLaw]) -> dict[str, SiteLaw]:
        """Measure what is usual for the measures of health."""
        profiles: dict[str, list[Tensor]] = {key: [] for key in laws}
        activities: dict[str, list[Tensor]] = {key: [] for key in laws}
        correlations: dict[str, list[Tensor]] = {key: [] for key in laws}
        radii: dict[str, list[Tensor]] = {key: [] for key in laws}
        for states, _ in self.healthy():
            for key, value in states.items():
                gauge, modes = laws[key].gauge, laws[key].modes
                profiles[key].append(distance_profile(value, gauge, modes))
                activities[key].append(channel_activity(value))
                correlations[key].append(inner_correlation(value, gauge.centre, gauge.directions))
                away = value - gauge.centre
                radii[key].append(((away @ gauge.precision) * away).sum(-1).sqrt().quantile(0.95))
        return {
            key: law.with_usual(
                torch.cat(profiles[key]),
                torch.cat(activities[key]).mean(0),
                torch.cat(correlations[key]).mean(0),
                torch.stack(radii[key]).mean(),
            )
            for key, law in laws.items()
        }

    def faults(self, laws: dict[str, SiteLaw]) -> tuple[dict[str, SiteLaw], dict[str, FaultLaw]]:
        """Measure how places go together, and what tells a fault at each."""
        centres = {key: law.gauge.centre for key, law in laws.items()}
        befores = {key: place_before(key, self.keys) for key in self.keys}
        links = measure_links((states for states, _ in self.healthy()), befores, centres)
        scatter = {key: law.modes.pooled(law.law().scatter) for key, law in laws.items()}
        before = {key: None if name is None else scatter[name] for key, name in befores.items()}
        fitted = {key: unranged_fault_law(centres[key], scatter[key], links.get(key), before[key]) for key in laws}
        states = (states for states, _ in self.healthy())
        faults = measure_ranges(states, self.keys, fitted, positions=self.fit.positions)
        return {key: replace(law, link=_float(links.get(key))) for key, law in laws.items()}, faults


def _float(link: LayerLink | None) -> LayerLink | None:
    if link is None:
        return None
    return LayerLink(**{name: tensor.float().clone() for name, tensor in link.tensors().items()})


def _ridges(modes: Modes, tokens: int, channels: int, samples: int) -> Tensor:
    """Give the share of the identity in each band's covariance, (bands, 1, 1).

    Small; but where there are fewer than four coefficients a channel, c / (c + n): directions that no fitted sample
    showed would else make any other sample look strange.
    """
    drawn = samples * modes.widths(tokens).double()
    return torch.where(drawn < FEW * channels, channels / (channels + drawn), RIDGE).float()[:, None, None]


def _site_law(means: Tensor, mix: Tensor, within: Tensor, modes: Modes, empty: Tensor | None, samples: int) -> SiteLaw:
    """Put a law together, its gauge still without what is usual."""
    channels = within.shape[-1]
    nothing = Gauge(*[within.new_zeros(0)] * 11)
    law = SiteLaw(
        means, mix.to(means), within, modes, empty, nothing, within.new_ones(()), within.new_ones(()), samples
    )
    whole = law.law()
    pooled = shrink(modes.pooled(whole.scatter), RIDGE)
    values, vectors = torch.linalg.eigh(pooled)
    rank = min(RANK, channels)
    gauge = Gauge(
        centre=whole.mean,
        whiteners=matrix_power(
            shrink(whole.scatter, _ridges(modes, means.shape[1], channels, samples).to(whole.scatter)), -0.5
        ),
        precision=matrix_power(pooled, -1.0),
        profile_mean=within.new_zeros(0),
        profile_precision=within.new_zeros(0),
        activity=within.new_zeros(channels),
        directions=vectors[:, -rank:] * values[-rank:].clamp_min(1e-12).rsqrt(),
        correlation=torch.eye(rank, device=within.device),
        scores=within.new_zeros(0),
        distances=within.new_zeros(0),
        kinds=within.new_zeros(0),
    )
    return replace(law, gauge=gauge)
