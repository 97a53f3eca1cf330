"""What is proved of the repair at one site, beside what is measured there."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.repair.guard.alignment import operator_norm, transport_maps
from mamba_mender.repair.guard.config import GuardConfig
from mamba_mender.repair.guard.law import Law, Modes, law_of, wasserstein
from mamba_mender.repair.guard.moments import convergence_bound, convergence_steps, in_double, moved_law
from mamba_mender.repair.guard.passage import SiteReport
from mamba_mender.repair.guard.site_law import SiteLaw

ROUNDS = 8  # repeated steps along which the energy is followed
RIDGE = 1e-6


@dataclass(frozen=True)
class SiteTheory:
    """The repair of flagged states at one site, as the theorem has it and as it is.

    Distances are W2 between Gaussian laws, in float64.

    samples: flagged ones.
    before: of the source law, which the maps were made for, from the target law.
    after: of the law that the applied maps make of it.
    proved: (1 - g) before, for optimal transport maps.
    gap: abs(after - proved) / before.
    exact_gap: the same with the maps made anew in float64.
    states_before, states_after: of these samples' own laws, around the repair.
    energy: V = W2^2 / 2 before and after each of eight repeated steps, the maps made anew each time.
    energy_proved: V_0 (1 - g)^(2 k).
    norm: Lipschitz bound of the applied map on flagged samples, its operator norm; 1 on all others.
    rate: of learning when a memory is full and nothing surprises, samples / (horizon + samples).
    radius: spectral radius of source and memory together, max(1 - g, 1 - rate).
    steps, steps_bound: until the running moments are within the tolerance of a fixed shift, and the bound on them,
        log(tolerance) / log(1 - rate); infinite where nothing is learned, and written as None, as are the steps where
        thresholds of plasticity leave a part of the shift unlearned.
    errors: of the running moments before the first of these steps and after each.
    kurtosis: mean excess kurtosis of the flagged states along the principal directions of each band; 0 for a Gaussian
        law.
    mix_moved: total variation between the classes that the target is of and those of healthy data.
    """

    samples: int
    before: float
    after: float
    proved: float
    gap: float
    exact_gap: float
    states_before: float
    states_after: float
    energy: list[float]
    energy_proved: list[float]
    norm: float
    rate: float
    radius: float
    steps: int | None
    steps_bound: int | None
    errors: list[float]
    kurtosis: float
    mix_moved: float


def site_theory(
    report: SiteReport, law: SiteLaw, shares: Tensor | None, *, config: GuardConfig, tolerance: float
) -> SiteTheory:
    """Measure at one site what the theorem says.

    Args:
        report: of a pass that kept the states around the repair.
        law: what is healthy there.
        shares: of the classes that the repair took the samples for, (classes,); None where it could not tell.
        config: the guard's settings.
        tolerance: share of a shift that is left when the running moments are said to have arrived.

    Raises:
        ValueError: nothing was realigned there, or the states were not kept.
    """
    found, states = report.realignment, report.before
    if found is None or states is None or report.after is None:
        raise ValueError("site_theory: the site realigned nothing, or its states were not kept.")
    basis = law.modes.basis
    modes = Modes(None if basis is None else basis.double(), law.modes.edges)
    tokens, strength = states.shape[1], found.strength
    source, target = in_double(found.source), in_double(found.target)

    def apart(one: Law, other: Law) -> float:
        return float(wasserstein(one, other, modes, tokens))

    before, after = apart(source, target), apart(moved_law(source, target, found.maps.double(), strength), target)
    exact = apart(moved_law(source, target, transport_maps(source.scatter, target.scatter), strength), target)
    scale = before if before > 0 else 1.0
    own = law_of(states.double(), modes)
    rate = len(states) / (config.horizon + len(states)) if _learns(config) else 0.0
    steps, errors = None, []
    if _learns(config):
        steps, errors = convergence_steps(
            in_double(law.law()), own, len(states), modes=modes, config=config, tolerance=tolerance, tokens=tokens
        )
    bound = convergence_bound(rate, tolerance)
    energy = _energies(source, target, strength, modes, tokens)
    return SiteTheory(
        samples=len(states),
        before=before,
        after=after,
        proved=(1 - strength) * before,
        gap=abs(after - (1 - strength) * before) / scale,
        exact_gap=abs(exact - (1 - strength) * before) / scale,
        states_before=apart(own, target),
        states_after=apart(law_of(report.after.double(), modes), target),
        energy=energy,
        energy_proved=[energy[0] * (1 - strength) ** (2 * k) for k in range(len(energy))],
        norm=float(operator_norm(found.maps.double(), strength)),
        rate=rate,
        radius=max(1 - strength, 1 - rate),
        steps=steps,
        steps_bound=int(bound) if math.isfinite(bound) else None,
        errors=errors,
        kurtosis=_kurtosis(states.double(), own, modes),
        mix_moved=0.0 if shares is None else float((shares - law.mix).abs().sum() / 2),
    )


def _learns(config: GuardConfig) -> bool:
    return config.plasticity and config.mode == "running"


def _energies(source: Law, target: Law, strength: float, modes: Modes, tokens: int) -> list[float]:
    """Follow V = W2^2 / 2 over repeated partial steps."""
    law, out = source, []
    for _ in range(ROUNDS + 1):
        out.append(0.5 * float(wasserstein(law, target, modes, tokens)) ** 2)
        law = moved_law(law, target, transport_maps(law.scatter, target.scatter), strength)
    return out


def _kurtosis(states: Tensor, own: Law, modes: Modes) -> float:
    """Measure the mean excess kurtosis along the principal directions; those without spread are left out."""
    fourth = []
    for band, vectors in zip(modes.split(states - own.mean), torch.linalg.eigh(own.scatter).eigenvectors, strict=True):
        flat = (band @ vectors).flatten(0, 1)
        second = flat.square().mean(0)
        spread = second > RIDGE * second.max()
        fourth.append(flat[:, spread].pow(4).mean(0) / second[spread].square() - 3)
    return float(torch.cat(fourth).mean().nan_to_num())
