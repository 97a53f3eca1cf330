"""The results file of the robustness benchmark: every figure with its interval over seeds and images, and the goals."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _arms import RESULTS
from _goals import told
from _robust_models import PEERS
from _robust_suites import PARTS
from _timing import machine

from mamba_mender._interval import Interval, bootstrap_interval, paired_gain
from mamba_mender.stress import StressResult

GOALS = {
    "clean accuracy of the base": 91.0,
    "clean accuracy, guard minus base, points": -0.2,
    "share of clean outputs that are bit-identical": 0.95,
    "noise 0.3: share of the lost accuracy recovered": 0.78,
    "noise 0.3: guard minus best peer, points": 12.0,
    "corruptions: guard minus base, points": 15.0,
    "corruptions: guard minus best peer, points": 5.0,
    "batches of 1: away from batches of 200, points": 2.0,
    "batches of 4: away from batches of 200, points": 2.0,
    "label-sorted, clean: guard minus base, points": -0.5,
    "label-sorted, noise 0.3: guard minus base, points": 35.0,
    "drifting: worst stretch of 200, guard minus base, points": -1.0,
    "drifting: last stretch of 200, guard minus base, points": 0.0,
    "PGD-20, guard minus base, points": 10.0,
    "AutoAttack, guard minus base, points": 5.0,
    "PGD-20, trained with its guard minus base, points": 20.0,
    "AutoAttack, trained with its guard minus base, points": 13.4,
    "clean accuracy, trained with its guard minus base, points": -1.0,
    "state faults: share of the lost accuracy recovered": 0.9,
    "state faults: AUC of finding them": 0.99,
    "inference time, share added": 0.18,
    "memory, share added": 0.15,
    "training time, share added": 0.23,
}
AT_MOST = [
    "batches of 1: away from batches of 200, points",
    "batches of 4: away from batches of 200, points",
    "inference time, share added",
    "memory, share added",
    "training time, share added",
]
STRETCH = 200


def summarise(out: Path) -> dict[str, Any]:
    """Put together what is there, print it, and write benchmarks/results/robustness.json."""
    found = {name: results_of(out / name) for name in PARTS}
    extras = [json.loads(path.read_text()) for path in sorted(out.glob("extras-*.json"))]
    cost = json.loads((out / "cost.json").read_text()) if (out / "cost.json").is_file() else {}
    tables = {name: table(results) for name, results in found.items() if results}
    reached = dict(reached_by(found, extras, cost))
    content = {
        "machine": machine("foolbox", "pyautoattack", "kornia"),
        "goals": GOALS,
        "at_most": AT_MOST,
        "reached": reached,
        "tables": tables,
        "drift": drift(found["streams"]),
        "masking": [row for path in sorted(out.glob("masking-*.json")) for row in json.loads(path.read_text())],
        "extras": extras,
        "cost": cost,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "robustness.json").write_text(json.dumps(content, indent=1) + "\n")
    print(*told(content), sep="\n")
    return content


def results_of(folder: Path) -> list[StressResult]:
    """Read the seeds of a part that are there."""
    return [StressResult.load(path) for path in sorted(folder.glob("seed-*")) if any((path / "cells").glob("*.json"))]


def table(results: Sequence[StressResult]) -> list[dict[str, Any]]:
    """Give one row a cell: accuracy in percent with its interval over seeds and images."""
    rows = []
    for result in results[0].cells.values():
        cell = result.cell
        what = cell.perturbation
        pick = (cell.model, what.family, what.name, what.level)
        how = {"order": cell.order, "batch_size": cell.batch_size, "count": cell.count, "warmup": cell.warmup}
        values = answers(results, *pick, **how)
        found = bootstrap_interval(values)
        rows.append(
            {
                "model": cell.model,
                "what": what.key,
                "order": cell.order,
                "batch_size": cell.batch_size,
                "seeds": len(values),
                "images": values.shape[1],
                "accuracy": percent(found),
                "seconds": round(
                    float(np.mean([r.cells[cell.key].seconds for r in results if cell.key in r.cells])), 1
                ),
            }
        )
    return rows


def answers(results: Iterable[StressResult], model: str, *what: Any, **how: Any) -> np.ndarray:
    """Give right or wrong by seed and image, (seeds, images), of the seeds that have the cell."""
    what = what or ("clean",)
    rows = []
    for result in results:
        if result.find_all(model, *what, **how):
            rows.append(result.per_image(model, *what, **how)[1].numpy())
    return np.stack(rows)


def accuracy(results: Iterable[StressResult], model: str, *what: Any, **how: Any) -> float:
    return 100 * float(answers(results, model, *what, **how).mean())


def percent(interval: Interval) -> list[float]:
    return [round(100 * value, 2) for value in (interval.mean, interval.low, interval.high)]


def gain(results: Sequence[StressResult], ours: str, theirs: str, *what: Any, **how: Any) -> float:
    pair = [answers(results, model, *what, **how) for model in (ours, theirs)]
    return 100 * paired_gain(list(pair[0]), list(pair[1])).mean


def recovered(results: Sequence[StressResult], *what: Any) -> float:
    """Give the share of what the base loses against its clean images that the guard brings back."""
    clean, base, guard = (
        accuracy(results, "none"),
        accuracy(results, "none", *what),
        accuracy(results, "guard", *what),
    )
    return (guard - base) / (clean - base)


def reached_by(found: dict[str, list[StressResult]], extras: list[dict], cost: dict) -> Iterable[tuple[str, float]]:
    """Measure each goal that the results at hand can show."""
    noise, corruptions, streams = found["noise"], found["corruptions"], found["streams"]
    at = ("noise", "gaussian", 0.3)
    if noise:
        yield "clean accuracy of the base", accuracy(noise, "none")
        yield "clean accuracy, guard minus base, points", gain(noise, "guard", "none")
        if extras:
            yield "share of clean outputs that are bit-identical", float(np.mean([e["identical"] for e in extras]))
        yield "noise 0.3: share of the lost accuracy recovered", recovered(noise, *at)
        best = max(accuracy(noise, peer, *at) for peer in PEERS)
        yield "noise 0.3: guard minus best peer, points", accuracy(noise, "guard", *at) - best
    if corruptions:
        yield "corruptions: guard minus base, points", gain(corruptions, "guard", "none", "corruption")
        best = max(accuracy(corruptions, peer, "corruption") for peer in PEERS)
        yield "corruptions: guard minus best peer, points", accuracy(corruptions, "guard", "corruption") - best
    if streams:
        yield from stream_goals(streams, at)
    yield from attack_goals(found)
    if found["faults"]:
        label = found["faults"][0].settings["suite"]["faults"][0]
        rate = label["rate"]
        yield "state faults: share of the lost accuracy recovered", recovered(found["faults"], "fault", None, rate)
    if extras:
        yield "state faults: AUC of finding them", float(np.mean([e["fault_auc"] for e in extras]))
    for name in ("inference time", "memory", "training time"):
        if name in cost:
            yield f"{name}, share added", cost[name]["share added"]


def stream_goals(streams: Sequence[StressResult], at: tuple) -> Iterable[tuple[str, float]]:
    whole = accuracy(streams, "guard", *at, order="shuffled", batch_size=200)
    for size in (1, 4):
        away = abs(accuracy(streams, "guard", *at, order="shuffled", batch_size=size) - whole)
        yield f"batches of {size}: away from batches of 200, points", away
    yield "label-sorted, clean: guard minus base, points", gain(streams, "guard", "none", "clean", order="label-sorted")
    yield (
        "label-sorted, noise 0.3: guard minus base, points",
        gain(streams, "guard", "none", *at, order="label-sorted"),
    )
    stretches = drift(streams)
    if stretches:
        apart = [g - b for g, b in zip(stretches["guard"], stretches["none"], strict=True)]
        yield "drifting: worst stretch of 200, guard minus base, points", min(apart)
        yield "drifting: last stretch of 200, guard minus base, points", apart[-1]


def attack_goals(found: dict[str, list[StressResult]]) -> Iterable[tuple[str, float]]:
    attacks = {"PGD-20": (found["attacks"], "pgd"), "AutoAttack": (found["autoattack"], "autoattack")}
    for model, words in {"guard": "guard", "trained guard": "trained with its guard"}.items():
        for name, (results, word) in attacks.items():
            cells = [c.cell for r in results[:1] for c in r.cells.values()]
            labels = {c.perturbation.name for c in cells if c.perturbation.name.startswith(word) and c.model == model}
            for label in labels:
                yield f"{name}, {words} minus base, points", gain(results, model, "none", "attack", label)
    if found["trained"] and found["noise"]:
        ours = accuracy(found["trained"], "trained guard")
        yield "clean accuracy, trained with its guard minus base, points", ours - accuracy(found["noise"], "none")


def drift(streams: Sequence[StressResult]) -> dict[str, list[float]]:
    """Give the accuracy along the drifting stream, in stretches of 200 images, averaged over seeds."""
    lines: dict[str, list[float]] = {}
    for model in ("none", "guard"):
        rows = [
            [100 * part.mean for part in cell.segments(STRETCH)]
            for result in streams
            for cell in result.find_all(model, "noise", order="drifting")
        ]
        if rows:
            lines[model] = np.mean(rows, axis=0).round(2).tolist()
    return lines
