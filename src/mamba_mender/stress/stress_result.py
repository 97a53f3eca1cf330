"""All cells of a stress test, and the figures that are made of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mamba_mender._check import UserError, nearest
from mamba_mender._interval import Interval, bootstrap_interval, paired_gain, wilson_interval
from mamba_mender.stress.cell_files import read_all
from mamba_mender.stress.cell_result import CellResult
from mamba_mender.stress.corruption_error import corruption_error
from mamba_mender.stress.robustness_curve import RobustnessCurve, robustness_curve

FROM_CLEAN = ("noise", "corruption", "rotation", "translation", "attack", "fault")  # level 0 is the clean image


@dataclass(frozen=True, eq=False)
class StressResult:
    """What a stress test found.

    A cell is asked for by model, family, name and level, where name and level may be left out if there is only one;
    and by `order`, `batch_size`, `count` and `warmup`, which are those of the table if left out (shuffled, the main
    batch size, any, any). Models are compared on the images that both were judged on.

    cells: results by the cell's key.
    settings: what was run: suite, images, models, versions.
    missing: keys of cells that another process has not ended yet; empty when everything is there.
    """

    cells: dict[str, CellResult]
    settings: dict[str, Any]
    missing: tuple[str, ...] = ()

    @classmethod
    def load(cls, folder: str | Path) -> "StressResult":
        """Read what ``stress_test(..., out=folder)`` kept.

        Raises:
            UserError: the folder holds no stress test, or a file is damaged.
        """
        settings, cells = read_all(Path(folder))
        return cls(cells, settings, tuple(key for key in settings["cells"] if key not in cells))

    @property
    def models(self) -> list[str]:
        """The names of the models."""
        return list(dict.fromkeys(result.cell.model for result in self.cells.values()))

    def find_all(
        self,
        model: str,
        family: str = "clean",
        name: str | None = None,
        level: float | None = None,
        *,
        order: str = "shuffled",
        **how: int,
    ) -> list[CellResult]:
        """Find all cells of this description, see the class; there may be none."""
        wanted: dict[str, Any] = {"model": model, "order": order, "batch_size": self.settings["batch_size"]} | how
        done = {"family": family} | ({} if name is None else {"name": name})
        return [
            result
            for result in self.cells.values()
            if all(getattr(result.cell, key) == value for key, value in wanted.items())
            and all(getattr(result.cell.perturbation, key) == value for key, value in done.items())
            and (level is None or abs(result.cell.perturbation.level - level) < 1e-9)
        ]

    def find(
        self, model: str, family: str = "clean", name: str | None = None, level: float | None = None, **how: Any
    ) -> CellResult:
        """Find the one cell of this description, see the class.

        Raises:
            UserError: there is none, or more than one; the message lists them.
        """
        found = self.find_all(model, family, name, level, **how)
        if len(found) == 1:
            return found[0]
        if model not in self.models:
            raise UserError(f"StressResult: no model {model!r}; {nearest(model, self.models)}.")
        there = found or [result for result in self.cells.values() if result.cell.model == model]
        told = {"family": family, "name": name, "level": level} | how
        raise UserError(
            f"StressResult: {'more than one cell' if found else 'no cell'} of {model!r} is of "
            f"{ {key: value for key, value in told.items() if value is not None} }; "
            f"{'they are' if found else 'there are'} {sorted(result.cell.key for result in there)}."
        )

    def accuracy(
        self, model: str, family: str = "clean", name: str | None = None, level: float | None = None, **how: Any
    ) -> Interval:
        """Give the accuracy in one cell with its interval (Wilson)."""
        return self.find(model, family, name, level, **how).accuracy

    def gain(
        self,
        model: str,
        base: str,
        family: str = "clean",
        name: str | None = None,
        level: float | None = None,
        **how: Any,
    ) -> Interval:
        """Give by how much a model is more often right than the base in one cell, with a paired interval."""
        pair = [self.find(which, family, name, level, **how) for which in (model, base)]
        ours, theirs = _on_common_images(pair)
        return paired_gain([ours], [theirs])

    def per_image(
        self,
        model: str,
        family: str = "corruption",
        name: str | None = None,
        level: float | None = None,
        **how: Any,
    ) -> tuple[Tensor, Tensor]:
        """Average, for each image, whether it was right in all cells of a description.

        Returns:
            Rising positions in the image set of those images that were judged in all these cells, (images,), and the
            share of cells in which each was right, float64, (images,).

        Raises:
            UserError: there is no such cell.
        """
        found = self._some(model, family, name, level, **how)
        return _common_indices(found), torch.from_numpy(_on_common_images(found).mean(axis=0))

    def worst_accuracy(
        self, model: str, family: str = "attack", name: str | None = None, level: float | None = None, **how: Any
    ) -> Interval:
        """Give the share of images that were right in all cells of a description, with its interval (Wilson).

        Of several attacks at one budget it is what the strongest for each image leaves: 1 where none succeeds, 0 where
        each image falls to one of them.
        """
        right = _on_common_images(self._some(model, family, name, level, **how)).min(axis=0)
        return wilson_interval(int(right.sum()), len(right))

    def mean_accuracy(
        self,
        model: str,
        family: str = "corruption",
        name: str | None = None,
        level: float | None = None,
        **how: Any,
    ) -> Interval:
        """Average the accuracy over all cells of a description, with its interval over images (bootstrap)."""
        return bootstrap_interval(self.per_image(model, family, name, level, **how)[1].numpy())

    def mean_gain(
        self,
        model: str,
        base: str,
        family: str = "corruption",
        name: str | None = None,
        level: float | None = None,
        **how: Any,
    ) -> Interval:
        """Give by how much a model beats the base over all cells of a description, with a paired interval."""
        ours, theirs = (self._some(which, family, name, level, **how) for which in (model, base))
        if [_place(result) for result in ours] != [_place(result) for result in theirs]:
            raise UserError(f"StressResult: {model!r} and {base!r} were not run in the same cells of {family}.")
        answers = _on_common_images([*ours, *theirs])
        return paired_gain([answers[: len(ours)].mean(axis=0)], [answers[len(ours) :].mean(axis=0)])

    def corruption_error(self, model: str, base: str, *, relative: bool = False, **how: Any) -> Interval:
        """Give the mean corruption error of a model relative to a base (mCE), see :func:`corruption_error`.

        Args:
            model, base: names.
            relative: take off each model's errors on clean images first.
            how: see the class.
        """
        cells = {which: self._some(which, "corruption", **how) for which in (model, base)}
        names = list(dict.fromkeys(result.cell.perturbation.name for result in cells[model]))
        if [_place(result) for result in cells[model]] != [_place(result) for result in cells[base]]:
            raise UserError(f"StressResult: {model!r} and {base!r} were not run under the same corruptions.")
        clean = [self.find(which, "clean", **how) for which in (model, base)] if relative else []
        answers = _on_common_images([*cells[model], *cells[base], *clean])
        errors = 1 - answers
        count = len(cells[model])
        rows = [[i for i, r in enumerate(cells[model]) if r.cell.perturbation.name == name] for name in names]
        ours, theirs = (np.stack([errors[start:][row].mean(axis=0) for row in rows]) for start in (0, count))
        if relative:
            ours, theirs = ours - errors[-2], theirs - errors[-1]
        return corruption_error(ours, theirs)

    def curve(self, model: str, family: str, name: str | None = None, **how: Any) -> RobustnessCurve:
        """Draw the accuracy over the levels of one perturbation, from the clean images on where they were run.

        Raises:
            UserError: there are fewer than two levels, or cells of more than one perturbation.
        """
        found = self._some(model, family, name, **how)
        if len(names := {result.cell.perturbation.name for result in found}) > 1:
            raise UserError(f"StressResult: a curve is of one perturbation; name one of {sorted(names)}.")
        if family in FROM_CLEAN:
            found = [*self.find_all(model, "clean", **how), *found]
        levels = [result.cell.perturbation.level for result in found]
        return robustness_curve(levels, _on_common_images(found))

    def to_dict(self) -> dict[str, Any]:
        """Give the settings and what sums up each cell, as JSON has them."""
        cells = {key: result.to_dict() for key, result in self.cells.items()}
        return {"settings": self.settings, "cells": cells, "missing": list(self.missing)}

    def _some(self, model: str, *what: Any, **how: Any) -> list[CellResult]:
        found = self.find_all(model, *what, **how) or [self.find(model, *what, **how)]  # find says what is there
        return sorted(found, key=_place)  # by which two models are compared


def _place(result: CellResult) -> tuple[str, float, str, int]:
    cell = result.cell
    return cell.perturbation.name, cell.perturbation.level, cell.order, cell.batch_size


def _common_indices(results: list[CellResult]) -> Tensor:
    """List the images that were judged in all these cells, rising.

    Raises:
        UserError: there is none, or the cells are of different image sets.
    """
    sets = {result.cell.perturbation.name for result in results if result.cell.perturbation.family == "shift"}
    others = any(result.cell.perturbation.family != "shift" for result in results)
    if len(sets) + others > 1:
        raise UserError(f"StressResult: {sorted(sets)} are other images, and cannot be compared image by image.")
    common = np.unique(results[0].indices.numpy())
    for result in results[1:]:
        common = np.intersect1d(common, result.indices.numpy())
    if not len(common):
        raise UserError(f"StressResult: no image was judged in all of {sorted(r.cell.key for r in results)}.")
    return torch.from_numpy(common)


def _on_common_images(results: list[CellResult]) -> NDArray[np.float64]:
    """Give right or wrong on the images that were judged in all these cells, (cells, images)."""
    common = _common_indices(results).numpy()
    rows = []
    for result in results:
        order = np.argsort(result.indices.numpy(), kind="stable")
        place = order[np.searchsorted(result.indices.numpy(), common, sorter=order)]
        rows.append(result.correct.numpy()[place].astype(np.float64))
    return np.stack(rows)
