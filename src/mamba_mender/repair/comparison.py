"""What the arms of a run folder achieved, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mamba_mender._interval import Interval, bootstrap_interval, paired_gain, wilson_interval
from mamba_mender.repair.arm_result import ArmResult

ORDER = ("base", "control", "control-time", "swap", "ext", "int", "all", "clean")
MENDED = ("all", "ext", "int")
FIXED = ("base", "clean")  # trained once, compared with the control of every seed


@dataclass(frozen=True)
class Arm:
    """One arm over its seeds.

    name: such as "ext".
    results: what came of each seed, in the order of the seeds.
    accuracy: share of right answers by split, with its 95 % interval over images and seeds.
    gain: by split, over the control at the same seeds and on the same images; empty for the control
        itself, and where there is no control to compare with.
    """

    name: str
    results: tuple[ArmResult, ...]
    accuracy: Mapping[str, Interval]
    gain: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Give the seeds, the time, and all intervals, as JSON has them."""
        return {
            "seeds": [result.seed for result in self.results],
            "steps": [result.steps for result in self.results],
            "seconds": [result.seconds for result in self.results],
            "weights": [result.weights for result in self.results],
            "accuracy": {split: interval.to_dict() for split, interval in self.accuracy.items()},
            "gain": {split: interval.to_dict() for split, interval in self.gain.items()},
        }


def compare_arms(out: Path | str) -> dict[str, Arm]:
    """Read every finished arm of a run folder, and compare it with the control.

    The gain is the mean over seeds and images of (arm right) - (control right), image by image; the
    base, which has one seed, is compared with each seed of the control.

    Args:
        out: the run folder; its ``results`` folder has one JSON file an arm and seed.

    Returns:
        Arm by name, in the order in which they are reported.

    Raises:
        UserError: a file is not the result of an arm.
    """
    out = Path(out)
    found: dict[str, list[ArmResult]] = {}
    for path in (out / "results").glob("*-*.json"):
        arm, _, seed = path.stem.rpartition("-")
        if seed.isdecimal() and (result := ArmResult.load(out, arm, int(seed))):
            found.setdefault(arm, []).append(result)
    results = {name: tuple(sorted(found[name], key=lambda result: result.seed)) for name in ORDER if name in found}
    correct = {name: {result.seed: result.correct(out) for result in group} for name, group in results.items()}
    return {name: Arm(name, group, _accuracy(correct[name]), _gain(name, correct)) for name, group in results.items()}


def gap_closed(arms: Mapping[str, Arm], name: str, split: str = "test") -> float | None:
    """Say how much of the way from the base to training on clean images an arm went: 0 none, 1 all of it.

    ``(arm - base) / (clean - base)`` in accuracy on the split.

    Args:
        arms: what :func:`compare_arms` gave.
        name: the arm.
        split: where it is measured.

    Returns:
        The share; None where nothing was trained on clean images, or that is no better than the base.
    """
    if not {"base", "clean", name} <= set(arms):
        return None
    base, clean, own = (arms[arm].accuracy[split].mean for arm in ("base", "clean", name))
    return (own - base) / (clean - base) if clean > base else None


def chosen_arm(arms: Mapping[str, Arm]) -> Arm | None:
    """Choose the mended arm that a person would take: the best on validation images, never on test images.

    The judge is the validation images with swapped backgrounds where there are such, else the plain ones.
    """
    mended = [arms[name] for name in MENDED if name in arms]
    if not mended:
        return None
    return max(mended, key=lambda arm: (arm.accuracy.get("swapped_validation") or arm.accuracy["validation"]).mean)


def _accuracy(correct: Mapping[int, Mapping[str, Tensor]]) -> dict[str, Interval]:
    splits = next(iter(correct.values()))
    return {split: _interval([seen[split] for seen in correct.values()]) for split in splits}


def _interval(rows: Sequence[Tensor]) -> Interval:
    if len(rows) == 1:  # Wilson's interval keeps its width near 100 %, where a bootstrap has none
        return wilson_interval(int(rows[0].sum()), len(rows[0]))
    return bootstrap_interval([row.numpy() for row in rows])


def _gain(name: str, correct: Mapping[str, Mapping[int, Mapping[str, Tensor]]]) -> dict[str, Interval]:
    """Compare seed by seed; a model that was trained once with each seed of the control."""
    if name == "control" or "control" not in correct:
        return {}
    own, control = correct[name], correct["control"]
    alone = next(iter(own.values()))
    pairs = [(own.get(s, alone), control[s]) for s in sorted(control) if s in own or name in FIXED]
    if not pairs:
        return {}
    shared = [split for split in alone if split in pairs[0][1]]
    return {
        s: paired_gain([mine[s].numpy() for mine, _ in pairs], [its[s].numpy() for _, its in pairs]) for s in shared
    }
