"""The lines of a stress test's table: what was done, to which model, and how many answers stayed right."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mamba_mender._interval import Interval
from mamba_mender.data.corruptions import CORRUPTIONS
from mamba_mender.stress import CellResult, Perturbation, StressResult
from mamba_mender.stress.attacks import Attack

LARGE = 128  # halves of 1/255, beyond which a budget is written as a number
BASE = "none"  # the model without repair, if it is there
GROUPS = {"noise": "Noise", "blur": "Blur", "weather": "Weather", "digital": "Digital", "extra": "Others"}


@dataclass(frozen=True)
class Row:
    """One accuracy.

    kind: clean, noise, corruption, rotation, translation, shift, fault, attack or stream.
    what: what was done, in words.
    model: its name.
    images: how many were judged.
    accuracy: share of right answers, with its interval.
    gain: over the bare model on the same images, with a paired interval; None for that itself, or without it.
    flagged: share of the images that the model found unhealthy; None if it does not tell.
    """

    kind: str
    what: str
    model: str
    images: int
    accuracy: Interval
    gain: Interval | None = None
    flagged: float | None = None


def stress_rows(result: StressResult) -> list[Row]:
    """List the table of a stress test; all corruptions together are one line a model.

    Args:
        result: of :func:`mamba_mender.stress.stress_test`.

    Returns:
        Rows by what was done, models innermost.
    """
    table = [cell for cell in result.cells.values() if not is_stream(cell, result)]
    kinds = dict.fromkeys(cell.cell.perturbation.family for cell in table)
    rows: list[Row] = []
    for kind in kinds:
        if kind == "corruption":
            rows += corruption_rows(result)
            continue
        own = [cell for cell in table if cell.cell.perturbation.family == kind]
        for done in dict.fromkeys(cell.cell.perturbation for cell in own):
            rows += [row_of(result, cell) for cell in own if cell.cell.perturbation == done]
    return rows + [row_of(result, cell) for cell in streams(result)]


def is_stream(cell: CellResult, result: StressResult) -> bool:
    """Say whether a cell is of a stream, and not of the table."""
    own = cell.cell
    if own.order != "shuffled" or own.batch_size != result.settings["batch_size"]:
        return True
    apart = result.settings["warmup"] != result.settings["stream_warmup"] and own.perturbation.family != "attack"
    return apart and own.warmup == result.settings["stream_warmup"]


def streams(result: StressResult) -> list[CellResult]:
    """List the cells that are streams, by order, level and batch size, models innermost."""
    found = [cell for cell in result.cells.values() if is_stream(cell, result)]
    names = result.models

    def place(cell: CellResult) -> tuple[Any, ...]:
        own = cell.cell
        return own.order != "shuffled", own.order, own.perturbation.level, own.batch_size, names.index(own.model)

    return sorted(found, key=place)


def row_of(result: StressResult, cell: CellResult) -> Row:
    """Describe one cell."""
    done, stream = cell.cell.perturbation, is_stream(cell, result)
    what = name_stream(cell) if stream else name_done(done, result)
    gain = gain_of(result, cell)
    kind = "stream" if stream else done.family
    return Row(kind, what, cell.cell.model, len(cell.correct), cell.accuracy, gain, cell.extra.get("flagged"))


def gain_of(result: StressResult, cell: CellResult) -> Interval | None:
    """Compare a cell with the bare model's, image by image; None for that itself, or if it is not there."""
    own = cell.cell
    if own.model == BASE or BASE not in result.models:
        return None
    done = own.perturbation
    how: dict[str, Any] = {"order": own.order, "batch_size": own.batch_size, "warmup": own.warmup}
    if len(result.find_all(BASE, done.family, done.name, done.level, **how)) != 1:
        return None
    return result.gain(own.model, BASE, done.family, done.name, done.level, **how)


def corruption_rows(result: StressResult) -> list[Row]:
    """Average over all corruptions and severities, a line a model."""
    rows = []
    for model in result.models:
        own = result.find_all(model, "corruption")
        if not own:
            continue
        names, levels = ({getattr(c.cell.perturbation, k) for c in own} for k in ("name", "level"))
        what = f"mean of {len(names)} corruptions" if len(names) > 1 else name_of(next(iter(names)))
        severities = sorted(map(int, levels))
        span = f"severities {severities[0]}-{severities[-1]}" if len(severities) > 1 else f"severity {severities[0]}"
        gain = None
        base = {c.cell.perturbation for c in result.find_all(BASE, "corruption")}
        if model != BASE and base == {c.cell.perturbation for c in own}:
            gain = result.mean_gain(model, BASE, "corruption")
        flags = [c.extra["flagged"] for c in own if "flagged" in c.extra]
        images = len(result.per_image(model, "corruption")[0])
        flagged = sum(flags) / len(flags) if flags else None
        rows.append(
            Row("corruption", f"{what}, {span}", model, images, result.mean_accuracy(model), gain, flagged),
        )
    return rows


def by_group(result: StressResult) -> dict[str, dict[str, Interval]]:
    """Average accuracy over the corruptions of each group: group to model to interval."""
    found: dict[str, dict[str, Interval]] = {}
    for group, corruptions in corruption_groups(result).items():
        for model in result.models:
            cells = [c for name in corruptions for c in result.find_all(model, "corruption", name)]
            if cells:
                part = StressResult({c.cell.key: c for c in cells}, result.settings)
                found.setdefault(GROUPS[group], {})[model] = part.mean_accuracy(model)
    return found


def corruption_groups(result: StressResult) -> dict[str, list[str]]:
    """Sort the corruptions that were run into ImageNet-C's groups."""
    names = dict.fromkeys(
        c.cell.perturbation.name for c in result.cells.values() if c.cell.perturbation.family == "corruption"
    )
    found: dict[str, list[str]] = {}
    for name in names:
        group = CORRUPTIONS[name].group if name in CORRUPTIONS else "extra"
        found.setdefault(group, []).append(name)
    return {group: found[group] for group in GROUPS if group in found}


def name_done(done: Perturbation, result: StressResult) -> str:
    """Name what was done to the images or the model.

    Example:
        >>> name_done(Perturbation("noise", "gaussian", 0.3), StressResult({}, {}))
        'gaussian noise 0.3'
    """
    level = f"{done.level:g}"
    words = {
        "clean": "clean images",
        "noise": f"{done.name} noise {level}",
        "corruption": f"{name_of(done.name)}, severity {level}",
        "rotation": f"rotated by {level} degrees",
        "translation": f"moved by {100 * done.level:g} % of the side",
        "shift": f"other images: {done.name}",
    }
    if done.family == "attack":
        return name_attack(Attack(**result.settings["attacks"][done.key]))
    if done.family == "fault":
        return name_fault(result.settings["faults"][done.key])
    return words[done.family]


def name_attack(attack: Attack) -> str:
    """Name an attack with its budget.

    Example:
        >>> name_attack(Attack("pgd", adaptive=True)), name_attack(Attack("transfer", source="none"))
        ('PGD-20 at 8/255, adaptive', 'PGD-20 at 8/255, made on none')
    """
    known = {"fgsm": "FGSM", "cw": "C&W", "deepfool": "DeepFool", "autoattack": "AutoAttack", "square": "Square"}
    name = known.get(attack.name, f"PGD-{attack.steps}" + (f"x{attack.restarts}" if attack.restarts > 1 else ""))
    words = [f"{name} at {name_budget(attack.eps)}" + (" in L2" if attack.norm == "l2" else "")]
    words += [f"made on {attack.source}"] if attack.source else []
    words += ["through the stand-in"] if attack.bpda else []
    words += ["adaptive"] if attack.adaptive else []
    return ", ".join(words)


def name_budget(eps: float) -> str:
    """Write a budget as a fraction of 255 where it is one.

    Example:
        >>> name_budget(8 / 255), name_budget(0.5)
        ('8/255', '0.5')
    """
    halves = round(2 * 255 * eps)
    return f"{halves / 2:g}/255" if 0 < halves <= LARGE and abs(halves - 2 * 255 * eps) < 1e-6 else f"{eps:g}"


def name_fault(fault: dict[str, Any]) -> str:
    """Name a fault in the state, with its rate."""
    kinds = {"bit_flip": "flipped bits", "nan": "NaN", "inf": "infinities", "stuck": "stuck channels"}
    kinds |= {"zero": "zeroed entries", "gaussian": "noise"}
    where = "in every block" if fault["block"] is None else f"in block {fault['block']}"
    where = "at the embedding" if fault["block"] == -1 else f"in {fault['state']} {where}"
    return f"{kinds[fault['kind']]}, {100 * fault['rate']:g} % {where}"


def name_stream(cell: CellResult) -> str:
    """Name a stream by its order, what is on its images, and the batch size."""
    own = cell.cell
    level = own.perturbation.level
    what = "clean" if not level else f"noise up to {level:g}" if own.order == "drifting" else f"noise {level:g}"
    return f"{own.order} stream, {what}, batches of {own.batch_size}"


def name_of(corruption: str) -> str:
    """Write the name of a corruption with blanks."""
    return corruption.replace("_", " ")


def models_first(result: StressResult) -> Iterator[str]:
    """Give the models, the bare one first."""
    yield from sorted(result.models, key=lambda name: name != BASE)
