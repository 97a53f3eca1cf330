"""Measure what tells a fault at the places of a model."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mamba_mender.repair.guard.fault_law import TINY, FaultLaw, span_of
from mamba_mender.repair.guard.layer_link import LayerLink
from mamba_mender.repair.guard.matrix_power import shrink
from mamba_mender.taps.state_key import StateKey

MOST_JUDGED = 8  # places where residuals are judged, evenly spread: each costs two products of matrices
RIDGE = 1e-3  # of the mean variance, added to a covariance before it is inverted
FLOOR = 1e-3  # of a place's largest limit: what a channel that never moves is allowed


def unranged_fault_law(
    centre: Tensor, scatter: Tensor, link: LayerLink | None, sent_scatter: Tensor | None
) -> FaultLaw:
    """Fit how states follow from the layer before; what is farthest, strangest and narrowest is still to be measured.

    W = S_vv^(-1) S_vu and R = S_uu - W^T S_vu - S_uv W + W^T S_vv W.

    Args:
        centre: healthy mean, (tokens, channels) or (1, channels).
        scatter: S_uu, covariance of a token, (channels, channels).
        link: to the layer before; None where nothing is before.
        sent_scatter: S_vv, covariance of a token there, (channels before, channels before).
    """
    left, channels = scatter.double(), scatter.shape[-1]
    before, weights = centre.new_zeros(1, 0), centre.new_zeros(0, channels)
    if link is not None and sent_scatter is not None:
        firm = shrink(sent_scatter.double(), RIDGE)
        solved = torch.linalg.solve(firm, link.cross.double())
        shared = solved.mT @ link.cross.double()
        left = left - shared - shared.mT + solved.mT @ sent_scatter.double() @ solved
        before, weights = link.before.to(centre).clone(), solved.to(centre)
    precision = torch.linalg.inv(shrink((left + left.mT) / 2, RIDGE)).to(centre)
    nothing = centre.new_zeros(channels)
    return FaultLaw(centre.clone(), nothing, before, weights, precision, nothing, nothing)


def measure_ranges(
    healthy: Iterable[dict[str, Tensor]], keys: Sequence[str], laws: dict[str, FaultLaw], *, positions: bool
) -> dict[str, FaultLaw]:
    """Measure the farthest and the strangest entry and the narrowest range of healthy samples.

    Args:
        healthy: states of samples, by place, batch by batch.
        keys: places in the order of the model.
        laws: as :func:`unranged_fault_law` gives them.
        positions: whether positions mean the same in all samples; if not, as in texts, ranges are not judged, since all
            tokens of a text may be alike.
    """
    farthest: dict[str, Tensor] = {}
    strangest: dict[str, Tensor] = {}
    narrowest: dict[str, Tensor] = {}
    for states in healthy:
        for key, value in states.items():
            law = laws[key]
            far = (value - law.centre).abs().amax((0, 1))
            pull = law.pull(value, law.expected(sent_to(key, keys, states))).abs().amax((0, 1))
            farthest[key] = far.maximum(farthest.get(key, far))
            strangest[key] = pull.maximum(strangest.get(key, pull))
            span = span_of(value).amin(0)
            narrowest[key] = span.minimum(narrowest.get(key, span))
    out, judged = {}, judged_places(keys)
    for key, law in laws.items():
        strange = strangest[key] * law.precision.diagonal().rsqrt()
        strange = strange if key in judged else torch.full_like(strange, torch.inf)
        narrow = narrowest[key] if positions else torch.zeros_like(narrowest[key])
        far, strange = _floored(farthest[key]), _floored(strange)
        out[key] = FaultLaw(law.centre, far, law.before, law.weights, law.precision, strange, narrow)
    return out


def _floored(limits: Tensor) -> Tensor:
    """Leave no limit at 0: a channel that is the same in every healthy sample may move by rounding."""
    return limits.clamp_min(FLOOR * float(limits.max()) + TINY)


def judged_places(keys: Sequence[str]) -> set[str]:
    """Choose where residuals are judged: everywhere in shallow models, else at eight places, the last among them.

    Example:
        >>> sorted(judged_places([str(n) for n in range(16)]), key=int)
        ['1', '3', '5', '7', '9', '11', '13', '15']
    """
    if len(keys) <= MOST_JUDGED:
        return set(keys)
    return {keys[round((n + 1) * len(keys) / MOST_JUDGED) - 1] for n in range(MOST_JUDGED)}


def place_before(key: str, keys: Iterable[str]) -> str | None:
    """Name the residual state that a place's block gets, or None where it is not among the keys.

    Example:
        >>> place_before("2.x.forward", ["embedding", "0.h", "1.h", "2.z", "2.h"]), place_before("0.h", ["0.h"])
        ('1.h', None)
    """
    block = StateKey.parse(key).block
    stream = [found for found in map(StateKey.parse, keys) if found.state == "h" and found.block < block]
    return str(max(stream, key=lambda found: found.block)) if stream else None


def sent_to(key: str, keys: Iterable[str], states: dict[str, Tensor]) -> Tensor | None:
    """Give the states of the place before, or None where nothing is before."""
    before = place_before(key, keys)
    return None if before is None else states[before]


def worst_scores(laws: dict[str, FaultLaw], keys: Sequence[str], states: dict[str, Tensor]) -> Tensor:
    """Score each sample by its worst place, (samples,); see :meth:`FaultLaw.scores`."""
    return torch.stack([laws[key].scores(states[key], sent_to(key, keys, states)) for key in keys]).amax(0)
