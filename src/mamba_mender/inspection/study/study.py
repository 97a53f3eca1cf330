"""Run every analysis on every input, keep what comes, and go on where one fails."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from mamba_mender import __version__
from mamba_mender._check import UserError, is_out_of_memory
from mamba_mender.inspection.study.analyses import Analysis
from mamba_mender.inspection.study.failures import EXPECTED, tell_error
from mamba_mender.inspection.study.fingerprint import fingerprint
from mamba_mender.inspection.study.input_facts import input_facts
from mamba_mender.inspection.study.inputs import StudyInput
from mamba_mender.inspection.study.inspection import Inspection
from mamba_mender.inspection.study.parts import NotMeasured
from mamba_mender.inspection.study.run_folder import RunFolder
from mamba_mender.inspection.study.sample import Sample
from mamba_mender.inspection.study.scans import BatchScans
from mamba_mender.inspection.study.subject import Subject, describe

ACROSS_INPUTS = "across"  # in the place of an input's name
FACTS = Analysis("input", "input", lambda sample: {"facts": input_facts(sample)})  # of every input, before all else


class _TooMuchError(Exception):
    """A batch of several inputs ran out of memory: its inputs are to be taken one by one."""


@dataclass(eq=False)
class Study:
    """One inspection while it runs."""

    subject: Subject
    given: list[StudyInput]
    layers: list[int]
    settings: dict[str, Any]
    analyses: tuple[list[Analysis], list[Analysis]]
    strict: bool = False
    errors: list[dict[str, str]] = field(default_factory=list)
    samples: dict[int, Sample] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """How many results there are to find, for the bar."""
        return len(self.given) * (len(self.analyses[0]) + 1) + len(self.analyses[1])

    def open(self, out: Path, notes: list[str], source: dict[str, Any]) -> None:
        """Say what the run is, or go on with the same one."""
        self.began = time.monotonic()
        self.model_mark = fingerprint(self.subject.model)
        self.folders = [f"{number:04d}-{own.slug}" for number, own in enumerate(self.given)]
        marks = [fingerprint([own.name, own.truth], *_tensor(own)) for own in self.given]
        inputs = [
            {"name": own.name, "folder": folder, "fingerprint": mark}
            for own, folder, mark in zip(self.given, self.folders, marks, strict=True)
        ]
        metadata = {
            "model": describe(self.subject) | {"fingerprint": self.model_mark},
            "settings": self.settings,
            "inputs": inputs,
            "files": {a.name: a.file for a in (FACTS, *self.analyses[0], *self.analyses[1])},
            "errors": self.errors,
            "notes": notes,
            "source": source,
            "seconds": {},
            "peak_memory": {},
            "finished": False,
            "versions": {"mamba_mender": __version__, "torch": torch.__version__},
            "threads": torch.get_num_threads(),
        }
        self.marks, self.folder = marks, RunFolder(out, metadata)
        names = {own.name for own in self.given} | {ACROSS_INPUTS}
        # What failed stays written down until it is tried again, also where this run does not get that far.
        self.errors += [error for error in self.folder.earlier_errors if error["input"] in names]
        self.spent_before = self.folder.metadata["seconds"].get("all", 0.0)
        self._write()

    def run(self, advance: Callable[[int], None], *, swapped: bool = False) -> None:
        """Go through the inputs in batches, and then across them; swapped: whether the scans are ours for the while."""
        self.folder.metadata["scans"] = "of mamba_mender, swapped in for the run" if swapped else "the model's own"
        for rows in self._batches():
            self._run_batch(rows, advance)
        mark = fingerprint(self.model_mark, self._deciding(), self.marks)
        alive = [self.samples[row] for row in sorted(self.samples)]
        for analysis in self.analyses[1]:
            if alive and not self.folder.has(None, analysis.file, mark):
                self._keep(None, analysis, mark, lambda a=analysis: a.run(alive))
            advance(1)

    def close(self) -> Inspection:
        """Finish the metadata.

        Raises:
            UserError: no input could be inspected.
        """
        self.folder.metadata["finished"] = True
        self._write()
        if not self.samples:
            raise UserError(
                f"inspect: none of the {len(self.given)} inputs could be inspected; the first: "
                f"{self.errors[0]['input']}: {self.errors[0]['message']}"
            )
        return Inspection(self.folder.out, self.folder.metadata)

    def _batches(self) -> Iterator[list[int]]:
        """Group neighbouring inputs of one shape, a batch's worth at a time; unreadable ones stand alone."""
        shapes = [None if own.tensor is None else tuple(own.tensor.shape) for own in self.given]
        for shape, rows in groupby(range(len(self.given)), lambda row: shapes[row]):
            together, size = list(rows), 1 if shape is None else self.settings["batch_size"]
            for start in range(0, len(together), size):
                yield together[start : start + size]

    def _run_batch(self, rows: list[int], advance: Callable[[int], None]) -> None:
        own = [self.given[row] for row in rows]
        if (reason := own[0].error) is not None:
            self._fail(rows[0], FACTS, UserError(f"{own[0].name} {reason}"), "")
            advance(len(self.analyses[0]) + 1)
            return
        device = next(self.subject.model.parameters()).device
        inputs = torch.stack([tensor for one in own if (tensor := one.tensor) is not None]).to(device)
        scans = BatchScans(self.subject.model, inputs, self.layers)
        # What is computed in one batch may differ in the last digit from what is computed in another.
        mark = fingerprint(self.model_mark, self._deciding(), [self.marks[row] for row in rows])
        for i, row in enumerate(rows):
            sample = Sample(self.subject, self.given[row], scans, i, self.layers, self.settings["seed"])
            try:
                self._run_sample(row, sample, f"{mark}-{i}", advance)
            except _TooMuchError:
                for alone in rows[i:]:  # a batch that does not fit into memory is taken apart
                    self._run_batch([alone], advance)
                return

    def _run_sample(self, row: int, sample: Sample, mark: str, advance: Callable[[int], None]) -> None:
        folder = self.folders[row]
        for analysis in (FACTS, *self.analyses[0]):
            if not self.folder.has(folder, analysis.file, mark):
                done = self._keep(row, analysis, mark, lambda a=analysis: a.run(sample), crowded=sample.crowded)
                if not done and analysis is FACTS:  # what cannot be predicted cannot be analysed
                    advance(len(self.analyses[0]) + 1)
                    return
            advance(1)
        self.samples[row] = sample

    def _keep(
        self,
        row: int | None,
        analysis: Analysis,
        mark: str,
        find: Callable[[], dict[str, Any]],
        *,
        crowded: bool = False,
    ) -> bool:
        """Run one analysis with a generator of its own and keep its results, or its error."""
        began = time.monotonic()
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.settings["seed"])
                results = find()
        except EXPECTED as error:
            if crowded and is_out_of_memory(error):
                raise _TooMuchError from error
            self._fail(row, analysis, error, mark)
            return False
        failed = self._note_parts(row, analysis, results)
        seconds = round(time.monotonic() - began, 3)
        about = {"fingerprint": mark, "seconds": seconds} | ({"failed": failed} if failed else {})
        self.folder.save(self._folder(row), analysis.file, results, about)
        spent = self.folder.metadata["seconds"]
        spent[analysis.name] = round(spent.get(analysis.name, 0.0) + seconds, 3)
        self._write()
        return True

    def _note_parts(self, row: int | None, analysis: Analysis, results: dict[str, Any]) -> list[str]:
        """Write down the parts that failed, and name them; the results themselves say why, too.

        Raises:
            UserError: the run is strict.
        """
        name, failed = self._name(row), []
        self._forget(name, analysis)
        for part, result in results.items():
            if isinstance(result, NotMeasured) and result.failed:
                if self.strict:
                    raise UserError(f"inspect: {name}, {analysis.name}, {part}: {result.reason} (--strict)")
                told = {"kind": "part", "message": f"{part}: {result.reason}"}
                self.errors.append({"input": name, "analysis": analysis.name, **told})
                failed.append(part)
        return failed

    def _forget(self, name: str, analysis: Analysis) -> None:
        """Drop what an earlier run wrote down of an analysis, now that it was tried again."""
        tried = [e for e in self.folder.earlier_errors if (e["input"], e["analysis"]) == (name, analysis.name)]
        self.errors[:] = [error for error in self.errors if not any(error is old for old in tried)]

    def _fail(self, row: int | None, analysis: Analysis, error: BaseException, mark: str) -> None:
        """Write an error down where the results would be.

        Raises:
            UserError: the run is strict.
        """
        told = tell_error(error)
        name = self._name(row)
        if self.strict:
            raise UserError(f"inspect: {name}, {analysis.name}: {told['message']} (--strict)") from error
        self._forget(name, analysis)
        self.errors.append({"input": name, "analysis": analysis.name, **told})
        self.folder.save(self._folder(row), analysis.file, {}, {"fingerprint": mark, "error": told})
        self._write()

    def _write(self) -> None:
        """Write the metadata with the time of all runs so far: this one may be cut off before it ends."""
        self.folder.metadata["seconds"]["all"] = round(self.spent_before + time.monotonic() - self.began, 3)
        self.folder.note_peak()
        self.folder.write()

    def _deciding(self) -> dict[str, Any]:
        """The settings that decide what is found; the batch is part of an input's own mark."""
        return {name: value for name, value in self.settings.items() if name != "batch_size"}

    def _name(self, row: int | None) -> str:
        return ACROSS_INPUTS if row is None else self.given[row].name

    def _folder(self, row: int | None) -> str | None:
        return None if row is None else self.folders[row]


def _tensor(given: StudyInput) -> list[Any]:
    return [given.error] if given.tensor is None else [given.tensor]
