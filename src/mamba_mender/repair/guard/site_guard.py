"""One site of a guarded model: it judges each sample's states, remembers the unhealthy ones and repairs them."""

import torch
from torch import Tensor, nn

from mamba_mender.repair.guard.alignment import realign, regular, scale_maps, transport_maps, whitening_maps
from mamba_mender.repair.guard.config import GuardConfig
from mamba_mender.repair.guard.contents import fit_composition
from mamba_mender.repair.guard.health import (
    combine_p,
    conformal_p,
    conformal_p_by_kind,
    health_of_p,
    nonconformity,
)
from mamba_mender.repair.guard.in_parts import in_parts
from mamba_mender.repair.guard.law import Law, law_of
from mamba_mender.repair.guard.layer_link import LayerLink, link_of
from mamba_mender.repair.guard.memory import Memory, learn
from mamba_mender.repair.guard.metrics.layer_correlation_drift import layer_correlation_drift
from mamba_mender.repair.guard.passage import Passage, Realignment, SiteReport
from mamba_mender.repair.guard.project_tokens import project_tokens
from mamba_mender.repair.guard.site_law import SiteLaw

UNTAUGHT = (0.0, 1.0, 0.0, 0.0)  # weight, surprise, recent and usual log-health of a memory of nothing
LINK = ("cross", "sent", "arrived")  # what is remembered of the layer before
MOVED = 0.02  # relative change of the moments at which decompositions are made again


class SiteGuard(nn.Module):
    """Guard the states of one site.

    Args:
        law: what is healthy.
        config: the guard's settings.
    """

    def __init__(self, law: SiteLaw, config: GuardConfig) -> None:
        super().__init__()
        self.config = config
        for name, tensor in law.tensors().items():
            self.register_buffer("law_" + name.replace(".", "__"), tensor.clone())
        whole = law.law()
        self.register_buffer("memory_mean", torch.zeros_like(whole.mean))
        self.register_buffer("memory_scatter", torch.zeros_like(whole.scatter))
        self.register_buffer("memory_state", torch.tensor(UNTAUGHT, dtype=torch.float64))
        for name in () if law.link is None else LINK:
            self.register_buffer(f"memory_link_{name}", torch.zeros_like(getattr(law.link, name)))
        self._known: Realignment | None = None

    @property
    def law(self) -> SiteLaw:
        """What is healthy here."""
        names = [name for name, _ in self.named_buffers() if name.startswith("law_")]
        return SiteLaw.of_tensors({n.removeprefix("law_").replace("__", "."): self.get_buffer(n) for n in names})

    @property
    def memory(self) -> Memory | None:
        """What is remembered of unhealthy states; None at first."""
        weight, *history = self.get_buffer("memory_state").tolist()
        if weight == 0:
            return None
        law = Law(self.get_buffer("memory_mean").clone(), self.get_buffer("memory_scatter").clone())
        return Memory(law, weight, *history)

    @property
    def link(self) -> LayerLink | None:
        """What is remembered of how unhealthy states go together with the layer before; None at first."""
        healthy = self.law.link
        if healthy is None or not bool(self.get_buffer("memory_link_sent").any()):
            return None
        return LayerLink(healthy.before, *(self.get_buffer(f"memory_link_{name}").clone() for name in LINK))

    def remember(self, memory: Memory | None) -> None:
        """Replace what is remembered; None forgets it."""
        mean, scatter = self.get_buffer("memory_mean"), self.get_buffer("memory_scatter")
        if memory is None:
            for name, tensor in self.named_buffers():
                if name.startswith("memory_"):
                    tensor.zero_()
            self._known = None
        else:
            mean.copy_(memory.law.mean.detach())
            scatter.copy_(memory.law.scatter.detach())
        state = UNTAUGHT if memory is None else (memory.weight, memory.surprise, memory.recent, memory.usual)
        self.get_buffer("memory_state").copy_(torch.tensor(state, dtype=torch.float64))

    def forget_maps(self) -> None:
        """Compute maps anew at the next repair, as after a change of what is remembered."""
        self._known = None

    def forward(self, states: Tensor, passage: Passage, name: str, faults: Tensor | None = None) -> Tensor:
        """Judge, learn and repair.

        Args:
            states: (samples, tokens, channels).
            passage: what the sites of this pass share; filled in.
            name: of the site.
            faults: faulty entries of each sample, (samples,), mended by now; None where nothing looked for them.

        Returns:
            What the model goes on with; the same tensor where nothing was repaired.
        """
        law, given = self.law, states
        states = states.to(law.within.dtype)
        faults = torch.zeros(len(states), dtype=torch.long, device=states.device) if faults is None else faults
        report = self._judge(states, faults, law, passage)
        passage.reports[name] = report
        flagged = passage.flagged
        first, alarmed = passage.first, passage.alarmed
        if flagged is None or first is None or alarmed is None or not bool(flagged.any()):
            return given
        if passage.bar <= self.config.alpha and not passage.vigilance.is_shifted(first, alarmed):
            return given
        flagged = flagged & states.isfinite().all(-1).all(-1)  # what is not finite is neither learned from nor moved
        if not bool(flagged.any()):
            return given
        chosen = states[flagged]
        healed = self._repair(chosen, report.health[flagged], law, passage, report)
        if passage.sent is not None and law.link is not None and report.learning is not None:
            report.link = self._associate(
                passage.sent[flagged].detach(), chosen.detach(), law, report.learning.rate, held=passage.held
            )
        if passage.keep:
            report.before, report.after = chosen.detach(), healed.detach()
        if passage.gate is not None:
            moved = self.move(states, law, report) - states
            return given + (passage.gate[:, None, None] * moved).to(given.dtype)
        out = given.clone()
        out[flagged] = healed.to(given.dtype)
        return out

    def _judge(self, states: Tensor, faults: Tensor, law: SiteLaw, passage: Passage) -> SiteReport:
        """Measure the health of each sample, and flag the unhealthy ones."""
        gauge, weight = law.gauge, passage.weights[len(passage.reports)]
        alpha = max(self.config.alpha - law.rarity, 0.0)
        parts = in_parts(states, like=states)
        scores = torch.cat([nonconformity(part.nan_to_num(), gauge, law.modes) for part in parts], 1)
        p = conformal_p(scores, gauge.scores)
        weights = [weight * w for w in passage.measure_weights]
        combined = combine_p(p, weights)
        health = torch.where(faults > 0, 1 / (1 + faults), health_of_p(combined, alpha))
        alarmed = combined <= alpha
        if passage.first is None:
            first = conformal_p_by_kind(scores[0], law.kinds_of(states), gauge.distances, gauge.kinds)
            passage.first, passage.bar, passage.arrived = first, passage.vigilance.bar(first), states.detach()
            if passage.bar <= self.config.alpha and passage.drift is not None and passage.drift.is_drifted(states):
                passage.bar = 1.0  # no sample by itself, but the stream as a whole
            flagged = alarmed | (first <= passage.bar) if passage.bar > self.config.alpha else alarmed
            passage.flagged, passage.alarmed = flagged, alarmed
        else:
            assert passage.flagged is not None
            assert passage.alarmed is not None
            passage.flagged, passage.alarmed = passage.flagged | alarmed, passage.alarmed | alarmed
        if passage.softness:
            bars = torch.stack([s.quantile(1 - alpha * w) for s, w in zip(gauge.scores, weights, strict=True)])
            width = passage.softness * gauge.scores.std(1)
            soft = torch.sigmoid((scores - bars[:, None]) / width[:, None]).amax(0)
            passage.gate = soft if passage.gate is None else torch.maximum(passage.gate, soft)
        return SiteReport(health, p, faults)

    def _repair(self, states: Tensor, health: Tensor, law: SiteLaw, passage: Passage, report: SiteReport) -> Tensor:
        """Learn from unhealthy states, (samples, tokens, channels), and their health, (samples,); move them."""
        config = self.config
        memory = self.memory if config.plasticity and config.mode != "episodic" else None
        if config.mode != "frozen":
            report.learning = learn(
                memory,
                law_of(states, law.modes),
                len(states),
                modes=law.modes,
                config=config,
                tokens=states.shape[1],
                health=health,
            )
            memory = report.learning.memory
            if not passage.held and config.plasticity and config.mode == "running":
                self.remember(memory)
        if memory is None:
            return states
        if passage.composition is None and law.contents is not None:
            passage.composition = fit_composition(memory.law.mean, law.contents)
        shares = None if passage.composition is None else passage.composition.shares
        keep = not (passage.held or states.requires_grad)
        report.realignment = self._align(memory, law, shares, differentiable=states.requires_grad, keep=keep)
        return self.move(states, law, report)

    def _associate(self, sent: Tensor, states: Tensor, law: SiteLaw, rate: float, *, held: bool) -> float | None:
        """Let the correlation with the layer before learn as the memory did; give its drift from the healthy one."""
        config, healthy = self.config, law.link
        if healthy is None or not config.hebbian:
            return None
        seen = link_of(sent, states, before=healthy.before, centre=law.gauge.centre)
        known = self.link if config.plasticity and config.mode == "running" else None
        learned = seen if known is None else known.learned(seen, rate)
        if not held and config.plasticity and config.mode == "running":
            for name in LINK:
                self.get_buffer(f"memory_link_{name}").copy_(getattr(learned, name))
        return layer_correlation_drift(learned, healthy)

    def _align(
        self, memory: Memory, law: SiteLaw, shares: Tensor | None, *, differentiable: bool = False, keep: bool = False
    ) -> Realignment:
        """Choose source, target and maps; maps at hand are kept while the moments have hardly moved."""
        config = self.config
        target = regular(law.law(shares), config.shrinkage)
        seen = regular(memory.law, config.shrinkage)
        belief = memory.weight**2 / (memory.weight**2 + config.evidence**2)
        source = target.blend(seen, belief)
        if not config.homeostasis:
            share = [m.diagonal(dim1=-2, dim2=-1).sum(-1) for m in (source.scatter, target.scatter)]
            target = Law(source.mean, target.scatter * (share[0] / share[1])[:, None, None])
        known = self._known
        if known is not None and not differentiable and _moved(known, source, target) < MOVED:
            return Realignment(source, target, known.maps, config.strength, decomposed=False)
        if not config.hebbian:
            maps = scale_maps(source.scatter, target.scatter)
        else:
            make = whitening_maps if config.repair == "whiten" else transport_maps
            maps = make(source.scatter, target.scatter, differentiable=differentiable)
        found = Realignment(source, target, maps, config.strength, decomposed=True)
        if keep:
            self._known = found
        return found

    def move(self, states: Tensor, law: SiteLaw, report: SiteReport) -> Tensor:
        """Move states as the report says, or leave them where it tells of no repair.

        Args:
            states: (samples, tokens, channels), in the dtype of the law.
            law: of the site.
            report: of these samples.
        """
        found = report.realignment
        if found is None:
            return states
        if self.config.repair in ("transport", "whiten"):
            return realign(states, found.source, found.target, found.maps, modes=law.modes, strength=found.strength)
        return project_tokens(states, law, found.source, kind=self.config.repair, strength=found.strength)


def _moved(known: Realignment, source: Law, target: Law) -> float:
    """Measure by how much the covariances have changed since maps were computed."""
    pairs = ((known.source.scatter, source.scatter), (known.target.scatter, target.scatter))
    return max(float((new - old).norm() / old.norm()) for old, new in pairs)
