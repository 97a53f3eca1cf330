"""What each mechanism of a guard is worth: each is removed in turn."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import stdev
from typing import Any

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender._interval import Interval, paired_gain, wilson_interval
from mamba_mender._progress import ProgressLine
from mamba_mender.repair.guard.law import Law, Modes, law_of
from mamba_mender.repair.guard.memory import merge
from mamba_mender.repair.guard.moments import convergence_bound, convergence_steps, in_double
from mamba_mender.repair.guard.repair_analysis import keeping_states, logits_of
from mamba_mender.repair.guard.state_guard import StateGuard

MECHANISMS = ("hebbian", "plasticity", "homeostasis", "metaplasticity")
NOTHING, ALL = "nothing", "guard"  # the whole guard, and the model alone


@dataclass(frozen=True)
class GuardAblationRow:
    """A guard without one mechanism, on one stream.

    stream: its name.
    removed: the mechanism; "nothing" is the whole guard, "guard" the model alone.
    accuracy: after the warm-up, with its interval.
    contribution: accuracy of the whole guard minus this one's, paired; None for the whole guard.
    stability: standard deviation of the accuracy between blocks of the stream; None with fewer than two.
    steps: batches until the running moments of a full memory have come to the stream's shift; None where nothing is
        learned, or changes within a threshold are not.
    bound: on these steps, at the slowest rate.
    """

    stream: str
    removed: str
    accuracy: Interval
    contribution: Interval | None
    stability: float | None
    steps: int | None
    bound: int | None

    def to_dict(self) -> dict[str, Any]:
        """Give everything by name, as JSON has it."""
        return asdict(self)


def ablate_guard(
    guard: StateGuard,
    model: nn.Module,
    streams: Mapping[str, tuple[Tensor, Tensor]],
    *,
    batch_size: int = 50,
    warm_up: int = 200,
    block: int = 200,
    tolerance: float = 0.05,
    progress: bool = False,
) -> list[GuardAblationRow]:
    """Remove each mechanism of a guard in turn, and measure what is lost on streams of inputs.

    Args:
        guard: the whole guard.
        model: the model it was calibrated on.
        streams: name to inputs of the model, (samples, ...), and labels, (samples,), in the order of the stream.
        batch_size: samples at a time.
        warm_up: first samples that are not judged.
        block: samples between which stability is measured.
        tolerance: share of the shift that is left when the running moments are said to have arrived.
        progress: show a bar when it lasts longer than two seconds.

    Returns:
        Six rows a stream: the whole guard, each mechanism removed, and the model alone.

    Raises:
        UserError: a stream is not longer than the warm-up, or a mechanism is off in the guard as it is.
    """
    if off := [name for name in MECHANISMS if not getattr(guard.config, name)]:
        raise UserError(f"ablate_guard: {off[0]} is off in the guard as it is; give one with all mechanisms on.")
    for name, (inputs, labels) in streams.items():
        if len(inputs) <= warm_up or len(inputs) != len(labels):
            raise UserError(
                f"ablate_guard: stream {name!r} must have as many labels as inputs, and more than the warm-up of "
                f"{warm_up}, got {len(inputs)} and {len(labels)}."
            )
    rows: list[GuardAblationRow] = []
    with ProgressLine(6 * len(streams), label="ablate", shown=progress) as line:
        for name, (inputs, labels) in streams.items():
            whole, shift = _run(guard, model, inputs, labels, batch_size)
            rows.append(_row(name, NOTHING, whole[warm_up:], None, block, _pace(guard, shift, batch_size, tolerance)))
            line.advance(len(rows))
            for removed in MECHANISMS:
                without = guard.with_config(**{removed: False})
                right, _ = _run(without, model, inputs, labels, batch_size)
                pace = _pace(without, shift, batch_size, tolerance)
                rows.append(_row(name, removed, right[warm_up:], whole[warm_up:], block, pace))
                line.advance(len(rows))
            with torch.no_grad():
                answers = torch.cat([logits_of(model(part)).argmax(-1) for part in inputs.split(batch_size)])
            alone = answers.cpu() == labels.cpu()
            rows.append(_row(name, ALL, alone[warm_up:], whole[warm_up:], block, (None, None)))
            line.advance(len(rows))
    return rows


def _run(
    guard: StateGuard, model: nn.Module, inputs: Tensor, labels: Tensor, batch_size: int
) -> tuple[Tensor, tuple[str, Law] | None]:
    """Judge a stream; give what was right, and the law of flagged states at the first site that moved any."""
    guarded, right = guard(model), []
    pooled: dict[str, tuple[Law, int]] = {}
    with torch.no_grad(), keeping_states(guarded):
        for part, own in zip(inputs.split(batch_size), labels.split(batch_size), strict=True):
            right.append(logits_of(guarded(part)).argmax(-1).cpu() == own.cpu())
            assert guarded.last is not None
            for key, report in list(guarded.last.reports.items())[:1]:
                if report.before is None:
                    continue
                law, count = law_of(report.before, guard.laws[key].modes), len(report.before)
                if key in pooled:
                    old, seen = pooled[key]
                    law = merge(old, law, count / (seen + count), guard.laws[key].modes)
                    count += seen
                pooled[key] = (law, count)
    shift = next(((key, law) for key, (law, _) in pooled.items()), None)
    return torch.cat(right), shift


def _pace(
    guard: StateGuard, shift: tuple[str, Law] | None, batch_size: int, tolerance: float
) -> tuple[int | None, int | None]:
    """Count the steps to a shift, and bound them."""
    if shift is None or not guard.config.plasticity or guard.config.mode != "running":
        return None, None
    key, law = shift
    modes = guard.laws[key].modes
    modes = Modes(None if modes.basis is None else modes.basis.double(), modes.edges)
    start = in_double(guard.laws[key].law())
    steps, _ = convergence_steps(
        start, in_double(law), batch_size, modes=modes, config=guard.config, tolerance=tolerance
    )
    return steps, int(convergence_bound(batch_size / (guard.config.horizon + batch_size), tolerance))


def _row(
    stream: str,
    removed: str,
    right: Tensor,
    whole: Tensor | None,
    block: int,
    pace: tuple[int | None, int | None],
) -> GuardAblationRow:
    """Judge what was right after the warm-up."""
    blocks = [float(part.double().mean()) for part in right.split(block) if len(part) == block]
    return GuardAblationRow(
        stream=stream,
        removed=removed,
        accuracy=wilson_interval(int(right.sum()), len(right)),
        contribution=None if whole is None else paired_gain([whole.numpy()], [right.numpy()]),
        stability=stdev(blocks) if len(blocks) > 1 else None,
        steps=pace[0],
        bound=pace[1],
    )
