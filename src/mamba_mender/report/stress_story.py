"""The words of a stress test's page: the cards at its head, and what each section means in plain words."""

import json
from pathlib import Path
from typing import Any

from mamba_mender._interval import Interval
from mamba_mender.report.repair_looks import look_of
from mamba_mender.report.story import Card
from mamba_mender.report.stress_rows import BASE, Row

WHERE = {"clean": "on", "corruption": "over the", "shift": "on", "stream": "on the"}
LUCK = 0.02  # of the images, by which one attack may beat another
MID_NOISE = 0.3  # the level that the cards tell of, or the nearest one


def stress_cards(rows: list[Row]) -> list[Card]:
    """Say in three numbers how the models fare: on clean images, under noise, and under corruptions or attacks."""
    wanted = {"clean": "On clean images", "noise": "Under noise"}
    kinds = {row.kind for row in rows}
    last = next((kind for kind in ("attack", "corruption", "fault", "shift", "stream") if kind in kinds), "")
    names = {"attack": "Under attack", "corruption": "Under corruptions", "fault": "With faults in the state"}
    wanted |= {last: names.get(last, f"On another {last}")} if last else {}
    return [_card(title, _pick([row for row in rows if row.kind == kind])) for kind, title in wanted.items()]


def _pick(rows: list[Row]) -> list[Row]:
    """Choose the rows of one condition: noise nearest to 0.3, else the last that is not made on another model."""
    whats = dict.fromkeys(row.what for row in rows if "made on" not in row.what)
    if not whats:
        return []
    levels = {what: float(what.split()[-1]) for what in whats} if rows[0].kind == "noise" else {}
    what = min(levels, key=lambda w: abs(levels[w] - MID_NOISE)) if levels else list(whats)[-1]
    return [row for row in rows if row.what == what]


def _card(title: str, rows: list[Row]) -> Card:
    if not rows:
        return Card(title, "?", "", "Not in this run.")
    best = max(rows, key=lambda row: row.accuracy.mean)
    base = next((row for row in rows if row.model == BASE), None)
    told = f"Right answers of {_name(best)}: {best.what}, {best.images} images."
    if base is None or best is base:
        others = f" No other of {len(rows)} models is better." if len(rows) > 1 else ""
        return Card(title, percent(best.accuracy.mean), "", told + others)
    tone = "good" if best.gain is not None and best.gain.low > 0 else "open"
    told += f" The bare model: {percent(base.accuracy.mean)}."
    return Card(title, percent(best.accuracy.mean), "", told, tone)


def said_of(rows: list[Row]) -> list[str]:
    """Put the rows of one condition, or of several of one kind, into a sentence each.

    Example:
        >>> row = Row("clean", "clean images", "tent", 100, Interval(0.5, 0.4, 0.6), Interval(0.0, -0.1, 0.1))
        >>> said_of([row])
        ['TENT cannot be told from the bare model on clean images (+0.0 points, -10.0 to +10.0).']
    """
    said = []
    for row in rows:
        if row.gain is None:
            continue
        verb = "beats" if row.gain.low > 0 else "is worse than" if row.gain.high < 0 else "cannot be told from"
        where = f"{WHERE.get(row.kind, 'with')} {row.what}"
        said.append(f"{_begin(_name(row))} {verb} the bare model {where} ({points(row.gain)}).")
    return said


def attack_sentences(rows: list[Row]) -> list[str]:
    """Hold the attack that ignores a repair against those of its budget that go through it, for each repair."""
    said = []
    for left in [row for row in rows if "made on" in row.what and row.model != BASE]:
        budget = left.what.partition(" at ")[2].partition(",")[0]
        knowing = [
            row
            for row in rows
            if row.model == left.model and f" at {budget}," in row.what and "made on" not in row.what
        ]
        if not knowing:
            continue
        worst = min(knowing, key=lambda row: row.accuracy.mean)
        gap = left.accuracy.mean - worst.accuracy.mean
        sentence = (
            f"{_begin(_name(left))}: images made on the bare model, by an attack that ignores the repair, leave "
            f"{percent(left.accuracy.mean)} right; {worst.what} leaves {percent(worst.accuracy.mean)}."
        )
        if gap > LUCK:
            sentence += " The first number is no robustness: only the second one counts."
        elif gap < -max(LUCK, 1.5 / left.images) and any(not row.what.startswith("FGSM") for row in knowing):
            sentence += " The attack that knows the repair is the weaker one, which smells of masked gradients."
        said.append(sentence)
    return said


def read_masking(folder: Path) -> list[dict[str, Any]]:
    """Read the masking checks that a folder holds, by model."""
    return [json.loads(path.read_text()) for path in sorted((folder / "masking").glob("*.json"))]


def percent(value: float) -> str:
    """Write a share in percent.

    Example:
        >>> percent(0.123)
        '12.3 %'
    """
    return f"{100 * value:.1f} %"


def points(gain: Interval) -> str:
    """Write a gain in points, with its interval."""
    return f"{100 * gain.mean:+.1f} points, {100 * gain.low:+.1f} to {100 * gain.high:+.1f}"


def _begin(words: str) -> str:
    return words[0].upper() + words[1:]


def _name(row: Row) -> str:
    return (
        "the bare model" if row.model == BASE else look_of(row.model, [row.model]).label.replace("guard", "the guard")
    )


WORDS = (
    ("Right", "The share of images whose class the model names. The small numbers are the 95 % interval."),
    (
        "Gain",
        "The coloured number: points more than the bare model (none) on the same images. Green or red where the "
        "interval excludes 0; amber where chance could explain it.",
    ),
    (
        "Noise level",
        "The standard deviation of the noise, where black is 0 and white is 1; for impulse noise the share "
        "of pixels that are black or white.",
    ),
    ("Severity", "1 to 5, as in ImageNet-C, with lengths scaled to the size of the images."),
    (
        "Adaptive attack",
        "An attack that knows the repair: it goes through it and through its smooth stand-in, and each "
        "image keeps the worst of these.",
    ),
    (
        "Made on none",
        "An attack that ignores the repair: its images are made on the bare model. It is the weaker one "
        "unless gradients are masked.",
    ),
    (
        "Masking",
        "A model whose gradients lead nowhere looks robust and is not. The checks compare the attack with "
        "stronger, weaker and blind ones.",
    ),
    ("Stream", "Images in the order in which a model sees them; what it learns from one batch it has for the next."),
    ("Warm-up", "Images at the beginning of a stream that are shown and not judged."),
    ("Flagged", "The share of images that the model itself found unhealthy."),
)
