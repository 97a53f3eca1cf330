"""Everything that a report is made of, read from a run folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mamba_mender._check import UserError
from mamba_mender.inspection import Diagnosis
from mamba_mender.repair import Arm, chosen_arm, compare_arms
from mamba_mender.report.sight import Scene, Sight, look_at, make_scene, remember

AFTER = "mended"  # the folder, inside the run folder, of the chosen arm's diagnosis
PLANNED = ("base", "control", "ext", "int", "all")  # the arms of the paper's table


@dataclass(frozen=True, eq=False)
class Contents:
    """What is in a run folder; what is not there is empty or None.

    folder: the run folder.
    settings: config.json.
    arms: what each arm achieved, in the order of the table.
    before, after: diagnoses of the base and of the chosen arm, on the same images.
    scene: the images that all models are asked about.
    sights: where each arm's model looks in it; "base" is the model of the first diagnosis.
    """

    folder: Path
    settings: Mapping[str, Any]
    arms: Mapping[str, Arm]
    before: Diagnosis | None
    after: Diagnosis | None
    scene: Scene | None
    sights: Mapping[str, Sight]

    @property
    def chosen(self) -> Arm | None:
        """The mended arm that did best on validation images."""
        return chosen_arm(self.arms)

    @property
    def decoyed(self) -> bool:
        """Whether patches were planted: only then is there a clean test set beside the test set."""
        return any("clean_test" in arm.accuracy for arm in self.arms.values())

    @property
    def seeds(self) -> tuple[int, int]:
        """The smallest and the largest number of seeds of the arms; base and clean, trained once, do not count."""
        counts = [len(arm.results) for name, arm in self.arms.items() if name not in ("base", "clean")]
        return min(counts, default=1), max(counts, default=1)

    @property
    def absent(self) -> list[str]:
        """The arms that a complete comparison has and this run has not."""
        return [name for name in PLANNED if name not in self.arms]


def read_contents(folder: Path) -> Contents:
    """Read a run folder, and look through each arm's model (that of its first seed) at the diagnosed images.

    Args:
        folder: what :func:`mamba_mender.repair.mend` and :func:`mamba_mender.repair.examine` wrote.

    Returns:
        The contents; a run that was cut short has fewer arms, or no diagnosis.

    Raises:
        UserError: the folder has no finished arm and no diagnosis, or a file is damaged.
    """
    path = folder / "config.json"
    arms = compare_arms(folder)
    before = Diagnosis.load(folder) if (folder / "diagnosis.json").is_file() else None
    after = Diagnosis.load(folder / AFTER) if (folder / AFTER / "diagnosis.json").is_file() else None
    if not arms and before is None:
        raise UserError(
            f"write_report: {str(folder)!r} has neither results of an arm nor a diagnosis; give the folder of a run."
        )
    scene = None if before is None else make_scene(before)
    sights: dict[str, Sight] = {}
    if before is not None and scene is not None:
        models = {name: folder / arm.results[0].model for name, arm in arms.items() if name != "clean"}
        sights = {name: look_at(model, scene, before) for name, model in models.items() if model.is_file()}
        sights.setdefault("base", remember(before))
    settings = json.loads(path.read_text()) if path.is_file() else {}
    return Contents(folder, settings, arms, before, after, scene, sights)
