"""A guard followed along a stream: health, correlations, plasticity, homeostasis, metaplasticity, energy."""

import json
from collections.abc import Iterable, Sized
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mamba_mender._check import UserError
from mamba_mender._files import write_atomic
from mamba_mender._progress import ProgressLine
from mamba_mender.repair.guard.guarded_model import GuardedModel
from mamba_mender.repair.guard.law import Law, Modes, law_of, wasserstein
from mamba_mender.repair.guard.metrics import (
    hebbian_correlation_strength,
    homeostatic_deviation,
    metaplastic_adaptation,
    plasticity_magnitude,
    repair_ratio,
    state_health_score,
)
from mamba_mender.repair.guard.moments import in_double
from mamba_mender.repair.guard.passage import Passage, SiteReport
from mamba_mender.repair.guard.repair_analysis import keeping_states, logits_of
from mamba_mender.repair.guard.site_guard import SiteGuard

Series = list[float | None]


@dataclass(frozen=True)
class SiteSeries:
    """One site along a stream, a number a batch; None where there was nothing to measure.

    health: mean over samples.
    hebbian: correlation strength of what is remembered, see :func:`hebbian_correlation_strength`.
    change: relative change of each band's correlation, potentiation above 0, depression below; [] with no learning.
    potentiated, depressed: share of the channels' gains, over all bands, that rose and that fell.
    plasticity: see :func:`plasticity_magnitude`.
    homeostasis, homeostasis_after: deviation of the flagged states before and after the repair, see
        :func:`homeostatic_deviation`.
    rate: of learning. surprise: of the new samples, 1 where they are as remembered.
    adaptation: see :func:`metaplastic_adaptation`.
    weight: samples that the memory stands for.
    drift: W2 from the healthy law to what is remembered; of one token where positions are not told apart.
    distance, distance_after: W2 from the healthy law of what they show to the flagged states of the batch.
    energy, energy_after: V = W2^2 / 2 of these.
    link: drift of the remembered correlation with the layer before, see :func:`layer_correlation_drift`.
    faults: entries found faulty.
    """

    health: Series = field(default_factory=list)
    hebbian: Series = field(default_factory=list)
    change: list[list[float]] = field(default_factory=list)
    potentiated: Series = field(default_factory=list)
    depressed: Series = field(default_factory=list)
    plasticity: Series = field(default_factory=list)
    homeostasis: Series = field(default_factory=list)
    homeostasis_after: Series = field(default_factory=list)
    rate: Series = field(default_factory=list)
    surprise: Series = field(default_factory=list)
    adaptation: Series = field(default_factory=list)
    weight: Series = field(default_factory=list)
    drift: Series = field(default_factory=list)
    distance: Series = field(default_factory=list)
    distance_after: Series = field(default_factory=list)
    energy: Series = field(default_factory=list)
    energy_after: Series = field(default_factory=list)
    link: Series = field(default_factory=list)
    faults: Series = field(default_factory=list)


@dataclass(frozen=True)
class GuardAnalysis:
    """A guard along a stream, a number a batch.

    samples: in each batch.
    health: mean over samples of the least health over the sites.
    score: see :func:`state_health_score`.
    unhealthy: share of samples whose health is below 1.
    repaired: see :func:`repair_ratio`; moved: share of all samples that were flagged and moved.
    bar: p-value up to which samples are flagged.
    contrast: factor on what the images show, and shares: of the classes they show; None and [] where it cannot be told.
    elsewhere: faulty entries at places that are watched for faults alone.
    accuracy, base: of the guarded model and of the model itself; None without labels.
    sites: by key, in the order of the model.
    config: the guard's settings.
    """

    samples: list[int] = field(default_factory=list)
    health: Series = field(default_factory=list)
    score: Series = field(default_factory=list)
    unhealthy: Series = field(default_factory=list)
    repaired: Series = field(default_factory=list)
    moved: Series = field(default_factory=list)
    bar: Series = field(default_factory=list)
    contrast: Series = field(default_factory=list)
    shares: list[list[float]] = field(default_factory=list)
    elsewhere: Series = field(default_factory=list)
    accuracy: Series = field(default_factory=list)
    base: Series = field(default_factory=list)
    sites: dict[str, SiteSeries] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Give everything by name, as JSON has it."""
        return asdict(self)

    def save(self, path: Path | str) -> Path:
        """Write it as JSON.

        Raises:
            OSError: the disk is full or the folder closed; what was there is still there.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(self.to_dict(), allow_nan=False).encode())
        return path

    @classmethod
    def load(cls, path: Path | str) -> "GuardAnalysis":
        """Read what :meth:`save` wrote.

        Raises:
            UserError: the file is missing, or holds no analysis of a guard.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"GuardAnalysis.load: there is no file {str(path)!r}; check the path.")
        try:
            content = json.loads(path.read_bytes())
            sites = {key: SiteSeries(**series) for key, series in content.pop("sites").items()}
            return cls(**content, sites=sites)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"GuardAnalysis.load: {str(path)!r} holds no analysis of a guard ({error}).") from error


def analyse_guard(
    guarded: GuardedModel, stream: Iterable[Tensor], labels: Tensor | None = None, *, progress: bool = False
) -> GuardAnalysis:
    """Run a stream through a guarded model and keep what the guard did, batch by batch.

    Args:
        guarded: the guarded model; it learns from the stream as it would anyway.
        stream: batches of inputs of the model, each (samples, ...).
        labels: right answers to the whole stream, (samples of all batches,); None where they are not known.
        progress: show a bar when it lasts longer than two seconds.

    Returns:
        A :class:`GuardAnalysis`.

    Raises:
        UserError: the stream is empty, or has more samples than labels.
    """
    found = GuardAnalysis(config=guarded.config.to_dict(), sites={key: SiteSeries() for key in guarded.guards()})
    total = len(stream) if isinstance(stream, Sized) else 0
    with torch.no_grad(), keeping_states(guarded), ProgressLine(max(total, 1), label="analyse", shown=progress) as line:
        for number, inputs in enumerate(stream, 1):
            start = sum(found.samples)
            if labels is not None and len(labels) < start + len(inputs):
                raise UserError(f"analyse_guard: the stream is longer than its {len(labels)} labels.")
            _add_batch(found, guarded, inputs, None if labels is None else labels[start : start + len(inputs)])
            line.advance(min(number, line.total))
    if not found.samples:
        raise UserError("analyse_guard: the stream is empty; give at least one batch.")
    return found


def _add_batch(found: GuardAnalysis, guarded: GuardedModel, inputs: Tensor, labels: Tensor | None) -> None:
    """Run one batch and write down what happened."""
    ours = logits_of(guarded(inputs))
    passage = guarded.last
    assert passage is not None
    assert guarded.last_health is not None
    guards = guarded.guards()
    laws = {key: site.law for key, site in guards.items()}
    found.samples.append(len(inputs))
    found.health.append(float(guarded.last_health.double().mean()))
    found.score.append(state_health_score(passage, laws, alpha=guarded.config.alpha))
    found.unhealthy.append(float((guarded.last_health < 1).double().mean()))
    found.repaired.append(repair_ratio(passage))
    found.moved.append(_moved(passage))
    found.bar.append(passage.bar)
    shown = passage.composition
    found.contrast.append(None if shown is None else shown.contrast)
    found.shares.append([] if shown is None else shown.shares.tolist())
    found.elsewhere.append(float(sum(int(counts.sum()) for counts in passage.faults.values())))
    found.accuracy.append(None if labels is None else _share_right(ours, labels))
    found.base.append(None if labels is None else _share_right(logits_of(guarded.model(inputs)), labels))
    for key, report in passage.reports.items():
        _add_site(found.sites[key], guards[key], report, guarded.config.horizon)


def _add_site(series: SiteSeries, site: SiteGuard, report: SiteReport, horizon: float) -> None:
    """Write down what happened at one site."""
    law, memory, learning = site.law, site.memory, report.learning
    modes = Modes(None if law.modes.basis is None else law.modes.basis.double(), law.modes.edges)
    healthy = in_double(law.law())
    count = 0 if report.before is None else len(report.before)
    tokens = 1 if report.before is None else report.before.shape[1]
    learned = learning is not None and count > 0
    series.health.append(float(report.health.double().mean()))
    series.faults.append(float(report.faults.sum()))
    series.link.append(report.link)
    series.change.append(learning.change.tolist() if learning is not None else [])
    series.potentiated.append(learning.potentiated if learning is not None else None)
    series.depressed.append(learning.depressed if learning is not None else None)
    series.plasticity.append(plasticity_magnitude(learning))
    series.rate.append(learning.rate if learning is not None else None)
    series.surprise.append(learning.surprise if learning is not None else None)
    series.adaptation.append(metaplastic_adaptation(learning, count, horizon=horizon) if learned else None)
    series.weight.append(0.0 if memory is None else memory.weight)
    remembered = None if memory is None else in_double(memory.law)
    series.hebbian.append(None if remembered is None else hebbian_correlation_strength(remembered, healthy, modes))
    series.drift.append(
        None if remembered is None else float(wasserstein(remembered, healthy, modes, len(healthy.mean)))
    )
    around = (report.before, report.after)
    states = [None if each is None else law_of(each.double(), modes) for each in around]
    target = None if report.realignment is None else in_double(report.realignment.target)
    for seen, deviation, distance, energy in zip(
        states,
        (series.homeostasis, series.homeostasis_after),
        (series.distance, series.distance_after),
        (series.energy, series.energy_after),
        strict=True,
    ):
        deviation.append(None if seen is None else homeostatic_deviation(seen, healthy, modes, tokens=tokens))
        way = _distance(seen, target, modes, tokens)
        distance.append(way)
        energy.append(None if way is None else way**2 / 2)


def _distance(seen: Law | None, target: Law | None, modes: Modes, tokens: int) -> float | None:
    return None if seen is None or target is None else float(wasserstein(seen, target, modes, tokens))


def _moved(passage: Passage) -> float:
    if passage.flagged is None or all(report.realignment is None for report in passage.reports.values()):
        return 0.0
    return float(passage.flagged.double().mean())


def _share_right(outputs: Tensor, labels: Tensor) -> float:
    return float((outputs.argmax(-1) == labels.to(outputs.device)).double().mean())
