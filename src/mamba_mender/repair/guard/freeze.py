"""A guard as it stands, made a plain module: nothing is learned, and nothing depends on other samples."""

import copy
from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.nn import StatePoint
from mamba_mender.repair.guard.alignment import realign
from mamba_mender.repair.guard.contents import Contents, fit_composition, nearest_class
from mamba_mender.repair.guard.guarded_model import GuardedModel
from mamba_mender.repair.guard.health import Gauge, nonconformity
from mamba_mender.repair.guard.law import Law, Modes
from mamba_mender.repair.guard.passage import Realignment
from mamba_mender.repair.guard.site_law import SiteLaw
from mamba_mender.taps.find_places import find_places
from mamba_mender.taps.state_key import StateKey


def freeze_guard(guarded: GuardedModel) -> nn.Module:
    """Make a guarded model a static module that can be exported.

    A copy of the model, whose guarded states pass through fixed maps: those of what the guard remembers now. Each
    sample is judged by itself, by scores against fixed bars, and :func:`torch.where` takes its repaired or its own
    states; so there is no control flow that depends on data, and rows do not touch each other. The bar of the stream
    stays where it is. On a batch that would not move it, the outputs are those of the guarded model in mode "frozen",
    within rounding, but for two things: flagged samples are repaired also where the stream was not found shifted as a
    whole, and faults are not mended.

    Args:
        guarded: a guarded model of this package that remembers unhealthy samples.

    Returns:
        The module; it shares nothing with the guarded model.

    Raises:
        UserError: it remembers nothing, moves single tokens, or guards states that are no state points.

    Example:
        >>> freeze_guard(torch.nn.Linear(2, 2))
        Traceback (most recent call last):
        ...
        mamba_mender._check.UserError: freeze_guard: only a GuardedModel can be frozen, got Linear.
    """
    if not isinstance(guarded, GuardedModel):
        raise UserError(f"freeze_guard: only a GuardedModel can be frozen, got {type(guarded).__name__}.")
    if guarded.config.repair not in ("transport", "whiten"):
        raise UserError(
            f"freeze_guard: repair {guarded.config.repair!r} moves single tokens; only 'transport' and 'whiten' are "
            "fixed maps."
        )
    frozen = copy.deepcopy(guarded.model)
    points = find_places(frozen).points
    names = {module: name for name, module in frozen.named_modules()}
    flags, bar, sites = _Flags(), _bar(guarded), []
    moves = _realignments(guarded)
    weights, measures = guarded._weights
    for (key, move), weight in zip(moves.items(), weights, strict=True):
        point = points[StateKey.parse(key)].module
        if not isinstance(point, StatePoint):
            raise UserError(f"freeze_guard: {key!r} is no state point; only models of mamba_mender can be frozen.")
        law = guarded.guards()[key].law
        bars = _score_bars(law, [weight * w for w in measures], guarded.config.alpha - law.rarity)
        level = bar if not sites and bar > guarded.config.alpha else None
        sites.append(FrozenSite(point, law, bars, move, flags, level=level))
        parent, _, leaf = names[point].rpartition(".")
        setattr(frozen.get_submodule(parent), leaf, sites[-1])
    return frozen.train(guarded.model.training)


class _Flags:
    """Carry which samples are flagged from site to site of one pass."""

    def __init__(self) -> None:
        self.flagged: Tensor | None = None
        self.site: FrozenSite | None = None  # where a pass begins

    def __deepcopy__(self, memo: dict) -> "_Flags":
        twin = memo[id(self)] = _Flags()  # without the states of a pass
        twin.site = copy.deepcopy(self.site, memo)
        return twin


class _Cut(Modes):
    """Modes whose bands are cut at numbers that are known before anything runs."""

    def split(self, centred: Tensor) -> list[Tensor]:
        if self.basis is None:
            return [centred]
        along = self.basis.mT.to(centred) @ centred
        return [along[:, a:b] for a, b in zip(self.edges, self.edges[1:], strict=False)]


class FrozenSite(StatePoint):
    """Judge and repair the states of one site by fixed numbers.

    Args:
        point: the state point that it takes the place of.
        law: what is healthy.
        bars: scores above which a sample is flagged, one a measure, (measures,).
        move: the realignment; None judges alone.
        flags: shared by the sites of one model; a pass begins at the first one made.
        level: p-value up to which samples are flagged by their distance among samples of their kind; None flags none.

    Shape:
        (batch, tokens, channels), and the same out.
    """

    def __init__(
        self,
        point: StatePoint,
        law: SiteLaw,
        bars: Tensor,
        move: Realignment | None,
        flags: _Flags,
        *,
        level: float | None,
    ) -> None:
        super().__init__(point.state, point.direction)
        self.edges, self.flags, self.told_apart = law.modes.edges, flags, law.contents is not None
        if flags.site is None:
            flags.site = self
        self.strength = None if move is None else move.strength
        kept = {f"gauge_{name}": getattr(law.gauge, name) for name in GAUGE} | {"bars": bars}
        if law.modes.basis is not None:
            kept["basis"] = law.modes.basis
        if level is not None:
            kept["kind_bars"] = _kind_bars(law, level)
            contents = law.contents
            if contents is not None:
                kept |= {f"shown_{f.name}": getattr(contents, f.name) for f in fields(contents)}
        if move is not None:
            kept |= {"source": move.source.mean, "target": move.target.mean, "maps": move.maps}
        for name, tensor in kept.items():
            self.register_buffer(name, tensor.detach().clone())

    def forward(self, state: Tensor) -> Tensor:
        buffers = dict(self.named_buffers())
        modes = _Cut(buffers.get("basis"), self.edges)
        bars = buffers["bars"]
        gauge = Gauge(**{n: buffers[f"gauge_{n}"] for n in GAUGE}, scores=bars, distances=bars, kinds=bars)
        states = state.to(gauge.centre.dtype)
        scores = nonconformity(states.nan_to_num(), gauge, modes)
        flagged = (scores > bars[:, None]).any(0)
        if "kind_bars" in buffers:
            flagged = flagged | (scores[0] > buffers["kind_bars"][self._kinds(states, buffers)])
        if self.flags.site is not self and self.flags.flagged is not None:
            flagged = flagged | self.flags.flagged
        self.flags.flagged = flagged
        if self.strength is None:
            return state
        none = buffers["maps"]  # only the means of the laws are used
        source, target = Law(buffers["source"], none), Law(buffers["target"], none)
        healed = realign(states, source, target, buffers["maps"], modes=modes, strength=self.strength)
        return torch.where(flagged[:, None, None], healed.to(state.dtype), state)

    def _kinds(self, states: Tensor, buffers: dict[str, Tensor]) -> Tensor:
        """Guess what each sample shows, (samples,)."""
        if not self.told_apart:
            return torch.zeros(len(states), dtype=torch.long, device=states.device)
        return nearest_class(states, Contents(**{f.name: buffers[f"shown_{f.name}"] for f in fields(Contents)}))


GAUGE = (
    "centre",
    "whiteners",
    "precision",
    "profile_mean",
    "profile_precision",
    "activity",
    "directions",
    "correlation",
)


def _bar(guarded: GuardedModel) -> float:
    """Give the p-value up to which samples of the stream are flagged."""
    drift = guarded.drift
    if drift is not None and drift.is_drifted(drift.mean[None][:0]):
        return 1.0
    history = guarded.vigilance.history[0]
    seen = history[~history.isnan()]
    return guarded.vigilance.bar(seen[:0]) if len(seen) else guarded.config.alpha


def _realignments(guarded: GuardedModel) -> dict[str, Realignment | None]:
    """Give what each site would do to flagged samples now."""
    shares, out = None, {}
    for key, site in guarded.guards().items():
        memory, law = site.memory, site.law
        if memory is not None and shares is None and law.contents is not None:
            shares = fit_composition(memory.law.mean, law.contents).shares
        out[key] = None if memory is None else site._align(memory, law, shares, differentiable=False)
    if all(move is None for move in out.values()):
        raise UserError(
            "freeze_guard: the guard remembers no unhealthy samples, so it would repair nothing; run it in mode "
            "'running' on a shifted stream first."
        )
    return out


def _score_bars(law: SiteLaw, weights: Sequence[float], level: float) -> Tensor:
    """Give the scores above which a sample's combined p-value is at most a level, one a measure."""
    pairs = zip(law.gauge.scores, weights, strict=True)
    return torch.stack([_score_bar(own, max(level, 0.0), weight) for own, weight in pairs])


def _kind_bars(law: SiteLaw, level: float) -> Tensor:
    """Give the distance above which a sample's p-value among those of its kind is at most a level, one a kind."""
    gauge = law.gauge
    kinds = range(1 if law.contents is None else len(law.mix))
    return torch.stack([_score_bar(gauge.distances[gauge.kinds == kind].sort().values, level) for kind in kinds])


def _score_bar(scores: Tensor, level: float, weight: float = 1.0) -> Tensor:
    """Give the score above which a conformal p-value, over its weight, is at most a level.

    p = (1 + #{A_i >= A}) / (n + 1): where at most k scores may be as high, it is the (k + 1)-th highest. Rounded as
    :func:`conformal_p` and :func:`combine_p` round.
    """
    count = len(scores)
    p = (1 + torch.arange(count + 1)).to(scores.dtype) / (count + 1) / torch.tensor(weight).to(scores.dtype)
    most = int((p.clamp_max(1) <= level).sum()) - 1
    if most < 0:
        return scores.new_tensor(torch.inf)
    return scores.new_tensor(-torch.inf) if most >= count else scores[count - 1 - most].clone()
