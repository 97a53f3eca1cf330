"""The folder of an inspection: what is in it already, and what is added."""

import json
from pathlib import Path
from typing import Any

from mamba_mender._check import UserError
from mamba_mender._files import write_atomic
from mamba_mender.inspection.study.inspection import METADATA
from mamba_mender.inspection.study.peak import peak_memory
from mamba_mender.inspection.study.result_files import read_about, save_results

FREE = ("batch_size", "strict")  # settings that may differ: they do not change what is found


class RunFolder:
    """Keep results as they come, and know those that an earlier run left.

    Args:
        out: the folder; made if missing.
        metadata: what the run is; ``fingerprint`` of the model and ``settings`` must be those of what is there.

    Raises:
        UserError: the folder holds another inspection, or another run.
    """

    def __init__(self, out: Path, metadata: dict[str, Any]) -> None:
        self.out, self.metadata = out, metadata
        self.earlier_errors: list[dict[str, str]] = []
        path = out / METADATA
        if path.is_file():
            self._continue(path)
        elif (out / "config.json").exists():
            raise UserError(
                f"inspect: {str(out)!r} holds a run of mend or train; give another folder, such as "
                f"--out {out / 'inspection'}."
            )
        out.mkdir(parents=True, exist_ok=True)
        self.write()

    def write(self) -> None:
        """Write the metadata as they stand."""
        write_atomic(self.out / METADATA, json.dumps(self.metadata, indent=1, allow_nan=False).encode())

    def note_peak(self) -> None:
        """Keep the largest memory of all runs so far."""
        known = self.metadata["peak_memory"]
        now = peak_memory()
        self.metadata["peak_memory"] = known | {name: max(size, known.get(name, 0)) for name, size in now.items()}

    def path(self, folder: str | None, analysis: str) -> Path:
        """Name the file of an analysis without suffix: of an input's folder, or across inputs (None)."""
        return (self.out / "across" if folder is None else self.out / "inputs" / folder) / analysis

    def has(self, folder: str | None, analysis: str, mark: str) -> bool:
        """Tell whether results are there, without a failure, and of the same model, input and settings."""
        path = self.path(folder, analysis)
        if not path.with_name(path.name + ".json").is_file():
            return False
        about = read_about(path)
        return about.get("fingerprint") == mark and not {"error", "failed"} & about.keys()

    def save(self, folder: str | None, analysis: str, results: dict[str, Any], about: dict[str, Any]) -> None:
        """Keep the results of one analysis."""
        save_results(self.path(folder, analysis), results, about)

    def _continue(self, path: Path) -> None:
        """Refuse to mix in another model, other settings or other inputs.

        Raises:
            UserError: says what differs.
        """
        try:
            earlier = json.loads(path.read_bytes())
            changed = [
                f"{name} was {earlier['settings'].get(name)}, is {value}"
                for name, value in json.loads(json.dumps(self.metadata["settings"])).items()
                if name not in FREE and earlier["settings"].get(name) != value
            ]
            if earlier["model"]["fingerprint"] != self.metadata["model"]["fingerprint"]:
                changed.append(f"the model was another one ({earlier['model']['name']})")
            pairs = zip(earlier["inputs"], self.metadata["inputs"], strict=False)
            if any(then["fingerprint"] != now["fingerprint"] for then, now in pairs):
                changed.append("the inputs are other ones")
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"inspect: {str(path)!r} is damaged ({error}); give another folder.") from error
        if changed:
            raise UserError(f"inspect: {self.out} holds another inspection: {'; '.join(changed)}; give another folder.")
        self.earlier_errors = earlier["errors"]
        self.metadata["files"] = earlier["files"] | self.metadata["files"]
        self.metadata["seconds"], self.metadata["peak_memory"] = earlier["seconds"], earlier["peak_memory"]
