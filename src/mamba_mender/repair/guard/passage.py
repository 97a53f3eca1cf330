"""One forward pass through all sites of a guarded model: what passes from site to site, and what each reports."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mamba_mender.repair.guard.contents import Composition
from mamba_mender.repair.guard.drift import StreamDrift
from mamba_mender.repair.guard.health import WEIGHTS
from mamba_mender.repair.guard.law import Law
from mamba_mender.repair.guard.memory import Learning
from mamba_mender.repair.guard.vigilance import Vigilance


@dataclass
class Realignment:
    """How the moments of unhealthy states were moved at one site.

    source: their law, as far as the evidence goes.
    target: the healthy law of what they show.
    maps: one a band, (bands, channels, channels).
    strength: how far they were moved.
    decomposed: whether the maps were computed anew, or those at hand were still right.
    """

    source: Law
    target: Law
    maps: Tensor
    strength: float
    decomposed: bool


@dataclass
class SiteReport:
    """What one site saw and did.

    health: of each sample, before repair, in [0, 1], (samples,).
    p: of each measure, (measures, samples).
    faults: entries out of range, (samples,).
    learning: what the memory learned, or None.
    realignment: how moments were moved, or None.
    link: drift of the remembered correlation with the layer before from the healthy one, see
        :func:`mamba_mender.repair.guard.metrics.layer_correlation_drift`; None where nothing was learned.
    before, after: states of flagged samples around the repair, if they were to be kept.
    """

    health: Tensor
    p: Tensor
    faults: Tensor
    learning: Learning | None = None
    realignment: Realignment | None = None
    link: float | None = None
    before: Tensor | None = None
    after: Tensor | None = None


@dataclass
class Passage:
    """What sites share in one forward pass.

    weights: share of the false alarms of each site, in order.
    measure_weights: of each measure at a site.
    vigilance: what tells a shift from false alarms.
    drift: what tells a shift of the whole stream by its mean; None where classes are not told apart.
    held: leave the memories as they are.
    mends: whether faults are mended, or only counted.
    softness: width of a smooth gate, in standard deviations of healthy scores; 0 is the gate itself.
    keep: keep the states around each repair.
    first: p-value of the distance at the first site among samples of its kind, (samples,): what the stream is judged
        by.
    sent: the newest residual states as they were sent on, (samples, tokens, channels before).
    arrived: states at the first site, (samples, tokens, channels).
    bar: p-value up to which samples of this stream are repaired.
    alarmed: samples found unhealthy so far by themselves, (samples,).
    flagged: these, and those that the bar of a shifted stream adds, (samples,): what is repaired.
    gate: share of the repair that each sample gets, (samples,), where it is smooth.
    composition: which classes the unhealthy samples show, found at the first site that can tell.
    reports: by site.
    faults: faulty entries of each sample where states are watched for faults alone, (samples,), by place.
    """

    weights: list[float]
    vigilance: Vigilance
    drift: StreamDrift | None = None
    held: bool = False
    softness: float = 0.0
    keep: bool = False
    first: Tensor | None = None
    sent: Tensor | None = None
    arrived: Tensor | None = None
    bar: float = 0.0
    alarmed: Tensor | None = None
    flagged: Tensor | None = None
    gate: Tensor | None = None
    composition: Composition | None = None
    measure_weights: Sequence[float] = WEIGHTS
    mends: bool = True
    reports: dict[str, SiteReport] = field(default_factory=dict)
    faults: dict[str, Tensor] = field(default_factory=dict)
