"""Run models through everything that can go wrong with their images, cell by cell."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from mamba_mender._check import UserError
from mamba_mender._progress import ProgressLine
from mamba_mender.data import ImageSet
from mamba_mender.stress.cell import Cell
from mamba_mender.stress.cell_files import CellFolder
from mamba_mender.stress.cell_result import CellResult
from mamba_mender.stress.faults.state_fault import find_faulty
from mamba_mender.stress.pixels import Pixels, image_order, perturbed_pixels
from mamba_mender.stress.run_cell import run_cell
from mamba_mender.stress.settings import cell_mark, describe
from mamba_mender.stress.streams import drift_levels, stream_order
from mamba_mender.stress.stress_result import StressResult
from mamba_mender.stress.suite import Suite


def stress_test(
    models: Mapping[str, nn.Module],
    image_set: ImageSet,
    suite: Suite | None = None,
    *,
    out: str | Path | None = None,
    batch_size: int = 200,
    seed: int = 0,
    resume: bool = True,
    progress: bool = True,
    shifts: Mapping[str, ImageSet] | None = None,
) -> StressResult:
    """Judge models on perturbed images, attacks, faults and streams, each with its number of images and interval.

    What an image gets depends on the seed, the perturbation and the image: all models see the same pixels, in
    batches of any size and in any process. A model is reset before each cell, see ``stress.adaptive``; it runs in
    evaluation mode and without gradients, which it may enable itself.

    Cells are kept in the folder as they end; the same call goes on where it was stopped. Processes that `torchrun`
    starts share the cells of one folder: what is done to the images goes round among them, and whichever ends last
    has the whole result, as has any later call. An error in a cell ends the run, and what was kept stays.

    Args:
        models: by name, each takes pixels, (batch, channels, height, width), gives logits, (batch, classes).
        image_set: the images to judge on.
        suite: what is run; the default `Suite()` if omitted.
        out: folder for the results; nothing is kept if omitted.
        batch_size: images at a time, but where the suite says otherwise.
        seed: of the choice of images, their order, and all noise.
        resume: go on with a run that the folder holds; more models, levels and attacks may come to it.
        progress: show a bar when it lasts longer than two seconds.
        shifts: other image sets of the same classes, by the names that the suite gives them.

    Returns:
        A :class:`StressResult`.

    Raises:
        UserError: there is no model or image; a model lacks a state that a fault is meant for; the folder holds a run
            of other settings, models or images; a model stays changed after its reset; several processes have no
            folder to share.

    Example:
        >>> from mamba_mender.data import load_data
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> suite = Suite(corruptions=(), count_noise=100)
        >>> stress_test({"linear": model}, load_data("digits").test, suite).curve("linear", "noise").levels
        (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    """
    suite, shifts = Suite() if suite is None else suite, {} if shifts is None else dict(shifts)
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    _check(models, image_set, suite, shifts, alone=world == 1 or out is not None)
    cells = suite.cells(list(models), batch_size=batch_size, seed=seed)
    settings = describe(models, image_set, suite, shifts, batch_size=batch_size, seed=seed)
    marks = {cell.key: cell_mark(cell, settings) for cell in cells}
    folder = None if out is None else CellFolder(Path(out), settings, marks, resume=resume, first=rank == 0)
    done = {} if folder is None else folder.read()

    groups = _groups(cells)[rank::world]
    left = [[cell for cell in group if cell.key not in done] for group in groups]
    total = sum(map(len, groups))
    ended = total - sum(map(len, left))
    with ProgressLine(total, done=ended, label=f"stress {len(models)} models", shown=progress) as line:
        for group in filter(None, left):
            done_to = group[0].perturbation
            pixels = _pixels(group, shifts[done_to.name] if done_to.family == "shift" else image_set)
            for cell in group:
                result = done[cell.key] = run_cell(models, cell, pixels, suite)
                if folder is not None:
                    folder.write(result)
                ended += 1
                line.advance(ended, accuracy=result.accuracy.mean, rate=_rate(result))
    if folder is not None:
        done = folder.read()  # with what other processes have ended
    found = {cell.key: done[cell.key] for cell in cells if cell.key in done}
    return StressResult(found, settings, tuple(cell.key for cell in cells if cell.key not in done))


def _check(
    models: Mapping[str, nn.Module],
    image_set: ImageSet,
    suite: Suite,
    shifts: Mapping[str, ImageSet],
    *,
    alone: bool,
) -> None:
    if not models:
        raise UserError("stress_test: no model; give at least one, such as {'name': nn.Sequential(normalise, model)}.")
    if len(image_set) == 0:
        raise UserError("stress_test: the set has no images, so there is no accuracy.")
    if set(suite.shifts) != set(shifts):
        raise UserError(
            f"stress_test: the suite names the image sets {sorted(suite.shifts)}, but shifts has {sorted(shifts)}; "
            "give each by its name."
        )
    if lacking := sorted({source for a in suite.attacks if (source := a.source) and source not in models}):
        raise UserError(f"stress_test: attacks start from {lacking}, but the models are {sorted(models)}; add them.")
    for model in models.values() if suite.faults else ():
        find_faulty(model, suite.faults, where="stress_test")  # now, and not when a folder is there
    if not alone:
        raise UserError("stress_test: several processes share their cells in a folder; give one as out.")


def _groups(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Put cells together that see the same pixels, in their order."""
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        stream = (cell.count + cell.warmup,) if cell.order == "drifting" else ()
        groups.setdefault((cell.perturbation, *stream), []).append(cell)
    return list(groups.values())


def _pixels(group: Sequence[Cell], image_set: ImageSet) -> Pixels:
    """Make what all cells of a group see."""
    first = group[0]
    count = min(max(cell.count + cell.warmup for cell in group), len(image_set))
    levels = None
    if first.order == "drifting":
        labels = image_set.labels[image_order(image_set.labels, seed=first.seed)[:count]]
        rows = stream_order(labels, first.order, seed=first.seed)
        levels = torch.empty(count, dtype=torch.float64)
        levels[rows] = drift_levels(count, first.perturbation.level)  # the image at a place has the place's level
    return perturbed_pixels(image_set, first.perturbation, count, seed=first.seed, levels=levels)


def _rate(result: CellResult) -> float:
    return len(result.correct) / max(result.seconds, 1e-9)
