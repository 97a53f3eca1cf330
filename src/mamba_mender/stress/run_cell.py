"""One cell of a stress test: a model, a stream of perturbed images, and what came out."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.data.seeding import generator_for
from mamba_mender.stress.adaptive import health_of, reset_model
from mamba_mender.stress.attacks import Attack, AttackOutcome, run_attack
from mamba_mender.stress.cell import Cell
from mamba_mender.stress.cell_result import CellResult
from mamba_mender.stress.evaluate_stream import StreamOutcome, device_of, evaluate_stream
from mamba_mender.stress.faults import state_fault
from mamba_mender.stress.marks import weights_mark
from mamba_mender.stress.pixels import Pixels
from mamba_mender.stress.streams import stream_order
from mamba_mender.stress.suite import Suite


def run_cell(models: Mapping[str, nn.Module], cell: Cell, pixels: Pixels, suite: Suite) -> CellResult:
    """Reset a model, show it the stream of a cell, and judge its answers.

    Whatever the model draws from torch's generators depends only on the cell; they are put back.

    Args:
        models: by name; the cell's, and those that attacks start from.
        cell: what is run.
        pixels: the perturbed images, in the order of ``image_order``; at least as many as the cell needs.
        suite: settings of attacks, faults and the imbalanced stream.

    Raises:
        UserError: no image is left to be judged, or the model stays changed although it was reset.
    """
    model = models[cell.model]
    rows = stream_order(
        pixels.labels[: cell.count + cell.warmup], cell.order, seed=cell.seed, imbalance=suite.imbalance
    )
    stream = pixels.take(rows)
    reset_model(model)
    before = weights_mark(model)
    began = time.monotonic()
    try:
        with _seeded(model, cell):
            outcome, extra = _run(models, cell, stream, suite)
    finally:
        reset_model(model)
    seconds = time.monotonic() - began
    if weights_mark(model) != before:
        raise UserError(
            f"stress_test: the model {cell.model!r} stays changed after {cell.perturbation.key!r}, so that later cells "
            "would depend on earlier ones; give it a reset() that forgets all it learned, parameters and buffers."
        )
    if outcome.health is not None:
        flagged = (outcome.health < 1).float().mean().item()
        extra |= {"health": outcome.health.mean().item(), "flagged": flagged}
    return CellResult(
        cell,
        indices=stream.indices[cell.warmup :],
        labels=stream.labels[cell.warmup :],
        correct=outcome.correct,
        health=outcome.health,
        seconds=seconds,
        extra={"warmup": cell.warmup} | extra,
    )


def _run(
    models: Mapping[str, nn.Module], cell: Cell, stream: Pixels, suite: Suite
) -> tuple[StreamOutcome, dict[str, Any]]:
    model, done = models[cell.model], cell.perturbation
    if done.family == "attack":
        attack = next(a for a in suite.attacks if (a.label, float(a.eps)) == (done.name, done.level))
        return _attack(model, stream, attack, cell.batch_size, models.get(attack.source))
    faults = [fault for fault in suite.faults if (fault.label, float(fault.rate)) == (done.name, done.level)]
    faulty = state_fault(model, *faults, seed=cell.seed) if done.family == "fault" else nullcontext()
    with faulty:
        outcome = evaluate_stream(model, stream.images, stream.labels, batch_size=cell.batch_size, warmup=cell.warmup)
    return outcome, {}


def _attack(
    model: nn.Module, stream: Pixels, attack: Attack, batch_size: int, source: nn.Module | None
) -> tuple[StreamOutcome, dict[str, Any]]:
    """Attack a stream batch by batch, each as it comes, so that the model learns from adversarial images too."""
    device = device_of(model)
    outcomes: list[AttackOutcome] = []
    healths: list[Tensor] = []
    for images, labels in zip(stream.images.split(batch_size), stream.labels.split(batch_size), strict=True):
        batch = images.to(device), labels.to(device)
        outcomes.append(run_attack(model, *batch, attack, source=source, learn=True))
        if (health := health_of(model, len(labels))) is not None:
            healths.append(health)
    joined = AttackOutcome.join(outcomes)
    predictions = torch.full_like(stream.labels, -1)  # an attack tells what is right, not what was said
    health = torch.cat(healths) if healths else None
    outcome = StreamOutcome(joined.correct.cpu(), predictions, health)
    return outcome, {"figures": joined.figures, "notes": list(joined.notes), "ways": joined.way_accuracies}


@contextmanager
def _seeded(model: nn.Module, cell: Cell) -> Iterator[None]:
    """Seed torch's generators by the cell, not by the model, and put them back."""
    device = device_of(model)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(generator_for(cell.seed, cell.perturbation.key, cell.order).initial_seed())
        yield
