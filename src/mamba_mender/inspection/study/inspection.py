"""What an inspection found, read from its folder when it is asked for."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mamba_mender._check import UserError, nearest
from mamba_mender.inspection.study.result_files import load_results, read_about

METADATA = "metadata.json"


@dataclass(frozen=True, eq=False)
class Inspection:
    """The results of :func:`mamba_mender.inspection.study.inspect_model`.

    folder: where they are.
    metadata: model, settings, inputs, analyses, errors, times and memory, as in metadata.json.

    ``found.results("attention", 2)["rollout"]`` is one result of the third input, and ``found.across("similarity")``
    holds those over all inputs; ``plot`` draws any of them.
    """

    folder: Path
    metadata: dict[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> "Inspection":
        """Read an inspection from its folder.

        Raises:
            UserError: the folder holds none, or it is damaged.
        """
        path = Path(folder) / METADATA
        if not path.is_file():
            raise UserError(f"inspect: {str(folder)!r} holds no inspection (no {METADATA}); check the folder.")
        try:
            return cls(Path(folder), json.loads(path.read_bytes()))
        except ValueError as error:
            raise UserError(f"inspect: {str(path)!r} is damaged ({error}); inspect into another folder.") from error

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs, in order."""
        return [own["name"] for own in self.metadata["inputs"]]

    @property
    def errors(self) -> list[tuple[str, str, str]]:
        """What failed: input (or "across"), analysis (or "input") and why."""
        return [(own["input"], own["analysis"], own["message"]) for own in self.metadata["errors"]]

    def results(self, analysis: str, which: int | str = 0) -> dict[str, Any]:
        """Load what one analysis found of one input.

        Args:
            analysis: as for ``only``, e.g. "attention"; "input" for the input itself and the prediction.
            which: number or name of the input.

        Raises:
            UserError: there is no such input or analysis, or it failed.
        """
        own = self._input(which)
        return self._load(self.folder / "inputs" / own["folder"], analysis, own["name"])

    def across(self, analysis: str) -> dict[str, Any]:
        """Load what one analysis found across the inputs, e.g. "consistency"."""
        return self._load(self.folder / "across", analysis, "all inputs")

    def has(self, analysis: str, which: int | str | None = 0) -> bool:
        """Tell whether an analysis of an input, or across inputs (None), has results."""
        folder = self.folder / "across" if which is None else self.folder / "inputs" / self._input(which)["folder"]
        path = folder / self._file(analysis)
        return path.with_name(f"{path.name}.json").is_file() and "error" not in read_about(path)

    def _input(self, which: int | str) -> dict[str, Any]:
        inputs = self.metadata["inputs"]
        if isinstance(which, int) and -len(inputs) <= which < len(inputs):
            return inputs[which]
        for own in inputs:
            if which in (own["name"], own["folder"]):
                return own
        raise UserError(f"inspect: there is no input {which!r}; {nearest(str(which), self.inputs)}.")

    def _file(self, analysis: str) -> str:
        """Name the files of an analysis; the name of the files themselves does as well."""
        return self.metadata["files"].get(analysis, analysis)

    def _load(self, folder: Path, analysis: str, whose: str) -> dict[str, Any]:
        path = folder / self._file(analysis)
        if not path.with_name(f"{path.name}.json").is_file():
            known = sorted(file.stem for file in folder.glob("*.json"))
            raise UserError(f"inspect: there is no analysis {analysis!r} of {whose}; {nearest(analysis, known)}.")
        if (error := read_about(path).get("error")) is not None:
            raise UserError(f"inspect: {analysis} of {whose} failed: {error['message']}")
        return load_results(path)

    def __str__(self) -> str:
        model = self.metadata["model"]
        failed = f", {len(self.errors)} failures" if self.errors else ""
        return f"Inspection of {model['name']} on {len(self.inputs)} inputs{failed}, in {self.folder}"
