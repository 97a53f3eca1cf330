"""The results file of the robustness benchmark: every figure with its interval over seeds and images, and the goals."""

import json
import math
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
from mamba_mender.stress import CellResult, StressResult
from mamba_mender.stress.streams import DRIFT

GOALS = {
    "clean accuracy of the base": 91.0,
    "clean accuracy, guard minus base, points": -0.2,
    "share of clean outputs that are bit-identical": 0.95,
    "noise 0.3: share of the lost accuracy recovered": 0.78,
    "noise 0.3: guard minus best peer but MEMO, points": 12.0,
    "noise 0.3, MEMO's 200 images: guard minus MEMO, points": 12.0,
    "corruptions: guard minus base, points": 15.0,
    "corruptions: guard minus best peer but MEMO, points": 5.0,
    "batches of 1: away from batches of 200, points": 2.0,
    "batches of 4: away from batches of 200, points": 2.0,
    "label-sorted, clean: guard minus base, points": -0.5,
    "label-sorted, noise 0.3: guard minus base, points": 35.0,
    "drifting: worst stretch of 200, guard minus base, points": -1.0,
    "drifting: from 500 images after its end on, guard minus base, points": 0.0,
    "PGD-20, guard minus base, points": 10.0,
    "AutoAttack, guard minus base, points": 5.0,
    "PGD-20, trained with its guard minus base, points": 20.0,
    "AutoAttack, trained with its guard minus base, points": 13.4,
    "clean accuracy, trained with its guard minus base, points": -1.0,
    "state faults: share of the lost accuracy recovered": 0.9,
    "state faults: AUC of finding them": 0.99,
    "inference time, share added": 0.18,
    "inference time, all samples repaired, share added": 0.18,
    "memory, share added": 0.15,
    "memory, all samples repaired, share added": 0.15,
    "training time, share added": 0.23,
}
AT_MOST = [
    "batches of 1: away from batches of 200, points",
    "batches of 4: away from batches of 200, points",
    "inference time, share added",
    "inference time, all samples repaired, share added",
    "memory, share added",
    "memory, all samples repaired, share added",
    "training time, share added",
]
STRETCH = 200
SETTLED = 500  # images after the end of a drift, by when a guard is to be itself again
Answers = tuple[np.ndarray, np.ndarray]  # positions of images, and right or wrong
Right = tuple[np.ndarray, np.ndarray]  # right or wrong by two models, of the same images
Reached = tuple[str, float | Interval]  # a goal, and what was measured: with an interval where it is a paired gain


def summarise(out: Path) -> dict[str, Any]:
    """Put together what is there, print it, and write benchmarks/results/robustness.json."""
    by_seed = {name: seeds_of(out / name) for name in PARTS}
    extras = [json.loads(path.read_text()) for path in sorted(out.glob("extras-*.json"))]
    cost = json.loads((out / "cost.json").read_text()) if (out / "cost.json").is_file() else {}
    tables = {name: table([*seeds.values()]) for name, seeds in by_seed.items() if seeds}
    reached = dict(reached_by(by_seed, extras, cost))
    paired = {name: value for name, value in reached.items() if isinstance(value, Interval)}
    chosen = sorted(out.glob("peer-rates-*.json"))
    content = {
        "machine": machine("foolbox", "pyautoattack", "kornia"),
        "goals": GOALS,
        "at_most": AT_MOST,
        "reached": {name: value.mean if name in paired else value for name, value in reached.items()},
        "intervals": {name: [value.low, value.high] for name, value in paired.items()},
        "tables": tables,
        "drift": drift([*by_seed["streams"].values()]),
        "cold": cold([*by_seed["corruptions cold"].values()]),
        "masking": [row for path in sorted(out.glob("masking-*.json")) for row in json.loads(path.read_text())],
        "mechanisms": [row for path in sorted(out.glob("mechanisms-*.json")) for row in json.loads(path.read_text())],
        "mixed": [json.loads(path.read_text()) for path in sorted(out.glob("mixed-*.json"))],
        "extras": extras,
        "cost": cost,
        "trained_shares": [json.loads(path.read_text()) for path in sorted(out.glob("trained-*/share.json"))],
        "peer_rates": {path.stem.rsplit("-", 1)[1]: json.loads(path.read_text()) for path in chosen},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "robustness.json").write_text(json.dumps(content, indent=1) + "\n")
    print(*told(content), sep="\n")
    return content


def seeds_of(folder: Path) -> dict[int, StressResult]:
    """Read the seeds of a part that are there."""
    there = {int(p.name.removeprefix("seed-")): p for p in folder.glob("seed-*") if any((p / "cells").glob("*.json"))}
    return {seed: StressResult.load(there[seed]) for seed in sorted(there)}


def table(results: Sequence[StressResult]) -> list[dict[str, Any]]:
    """Give one row a cell: accuracy in percent with its interval over seeds and images."""
    rows = []
    for result in results[0].cells.values():
        cell = result.cell
        what = cell.perturbation
        pick = (cell.model, what.family, what.name, what.level)
        how = {"order": cell.order, "batch_size": cell.batch_size, "count": cell.count, "warmup": cell.warmup}
        values = answers(results, *pick, **how)
        own = [r.cells[cell.key] for r in results if cell.key in r.cells]
        row = {
            "model": cell.model,
            "what": what.key,
            "order": cell.order,
            "batch_size": cell.batch_size,
            "seeds": len(values),
            "images": values.shape[1],
            "accuracy": percent(bootstrap_interval(values)),
            "seconds": round(float(np.mean([one.seconds for one in own])), 1),
        }
        rows.append(row | ways(own))
    return rows


def ways(cells: Sequence[CellResult]) -> dict[str, dict[str, float]]:
    """Give what each way of an adaptive attack leaves right, in percent, averaged over seeds; nothing for one way."""
    left = [one.extra.get("ways", {}) for one in cells]
    names = [name for name in dict.fromkeys(name for one in left for name in one) if all(name in one for one in left)]
    if len(names) < 2:
        return {}
    return {"ways": {name: round(100 * float(np.mean([one[name] for one in left])), 2) for name in names}}


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


def gain(results: Iterable[StressResult], ours: str, theirs: str, *what: Any, **how: Any) -> Interval:
    """Measure by how many points one model beats another, on the seeds, cells and images that both were run on."""
    return paired([pair for r in results if (pair := _pair(r, ours, theirs, what or ("clean",), how))])


def paired(pairs: Sequence[Right]) -> Interval:
    """Measure a gain in points from right or wrong by image, a pair for each seed."""
    found = paired_gain(*map(list, zip(*pairs, strict=True)))
    return Interval(100 * found.mean, 100 * found.low, 100 * found.high)


def _pair(result: StressResult, ours: str, theirs: str, what: tuple, how: dict) -> Right | None:
    done = [sorted(c.cell.perturbation.key for c in result.find_all(model, *what, **how)) for model in (ours, theirs)]
    if not done[0] or done[0] != done[1]:
        return None
    first, second = (result.per_image(model, *what, **how) for model in (ours, theirs))
    return _common((first[0].numpy(), first[1].numpy()), (second[0].numpy(), second[1].numpy()))


def best_peer(results: Sequence[StressResult], *what: Any) -> Interval | None:
    """Measure the gain of the guard over the peer that it beats by least; None if no peer was run."""
    there = [peer for peer in PEERS if any(r.find_all(peer, *what) for r in results)]
    return min((gain(results, "guard", peer, *what) for peer in there), key=lambda found: found.mean, default=None)


def recovered(results: Sequence[StressResult], *what: Any) -> float:
    """Give the share of what the base loses against its clean images that the guard brings back."""
    clean, base, guard = (
        accuracy(results, "none"),
        accuracy(results, "none", *what),
        accuracy(results, "guard", *what),
    )
    return (guard - base) / (clean - base)


def reached_by(by_seed: dict[str, dict[int, StressResult]], extras: list[dict], cost: dict) -> Iterable[Reached]:
    """Measure each goal that the results at hand can show."""
    at, found = ("noise", "gaussian", 0.3), {name: [*results.values()] for name, results in by_seed.items()}
    yield from table_goals(found, at)
    if extras:
        yield "share of clean outputs that are bit-identical", float(np.mean([e["identical"] for e in extras]))
    if found["streams"]:
        yield from stream_goals(found["streams"], at)
    yield from attack_goals(by_seed)
    if any(result.find_all("trained guard") and result.find_all("none") for result in found["trained"]):
        yield (
            "clean accuracy, trained with its guard minus base, points",
            gain(found["trained"], "trained guard", "none"),
        )
    if found["faults"]:
        label = found["faults"][0].settings["suite"]["faults"][0]
        rate = label["rate"]
        yield "state faults: share of the lost accuracy recovered", recovered(found["faults"], "fault", None, rate)
    if extras:
        yield "state faults: AUC of finding them", float(np.mean([e["fault_auc"] for e in extras]))
    kinds = ("inference time", "memory")
    for name in (*kinds, *(f"{kind}, all samples repaired" for kind in kinds), "training time"):
        if name in cost:
            yield f"{name}, share added", cost[name]["share added"]


def table_goals(found: dict[str, list[StressResult]], at: tuple) -> Iterable[Reached]:
    noise, corruptions, memo = found["noise"], found["corruptions"], found["memo"]
    if noise:
        yield "clean accuracy of the base", accuracy(noise, "none")
        yield "clean accuracy, guard minus base, points", gain(noise, "guard", "none")
        yield "noise 0.3: share of the lost accuracy recovered", recovered(noise, *at)
        if least := best_peer(noise, *at):
            yield "noise 0.3: guard minus best peer but MEMO, points", least
    if any(result.find_all("memo", *at) for result in memo):
        yield "noise 0.3, MEMO's 200 images: guard minus MEMO, points", gain(memo, "guard", "memo", *at)
    if corruptions:
        yield "corruptions: guard minus base, points", gain(corruptions, "guard", "none", "corruption")
        if least := best_peer(corruptions, "corruption"):
            yield "corruptions: guard minus best peer but MEMO, points", least


def cold(corruptions: Sequence[StressResult]) -> dict[str, list[float]]:
    """Give the guard's gains on corruptions that are judged from the first image on, with their intervals."""
    if not corruptions:
        return {}
    found = {
        "base": gain(corruptions, "guard", "none", "corruption"),
        "best peer": best_peer(corruptions, "corruption"),
    }
    return {name: [one.mean, one.low, one.high] for name, one in found.items() if one is not None}


def stream_goals(streams: Sequence[StressResult], at: tuple) -> Iterable[Reached]:
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
    if pairs := settled(streams):
        yield "drifting: from 500 images after its end on, guard minus base, points", paired(pairs)


def attack_goals(by_seed: dict[str, dict[int, StressResult]]) -> Iterable[Reached]:
    """Measure gains under attack; what AutoAttack leaves right counts only where PGD-20 leaves it right, too.

    The bare model is judged by those of its ensembles that the other has met as well.

    Args:
        by_seed: results by part and seed.
    """
    for model, words, part in (
        ("guard", "guard", "autoattack guarded"),
        ("trained guard", "trained with its guard", "autoattack trained"),
    ):
        both = {seed: (left(r, model, "pgd"), left(r, "none", "pgd")) for seed, r in by_seed["attacks"].items()}
        pgd = {seed: (ours, base) for seed, (ours, base) in both.items() if ours is not None and base is not None}
        if pgd:
            yield f"PGD-20, {words} minus base, points", paired([_common(*pair) for pair in pgd.values()])
        ensembles = []
        for seed, (ours, base) in pgd.items():
            if seed in by_seed[part] and seed in by_seed["autoattack"]:
                own, bare = by_seed[part][seed], by_seed["autoattack"][seed]
                met = _both(left(own, model, "autoattack"), ours)
                meets = _both(left(bare, "none", "autoattack", like=own), base)
                ensembles += [_common(met, meets)] if met is not None and meets is not None else []
        if ensembles:
            yield f"AutoAttack, {words} minus base, points", paired(ensembles)


def left(result: StressResult, model: str, attack: str, *, like: StressResult | None = None) -> Answers | None:
    """Say which images stay right in all runs of an attack, whatever their settings; None if one lacks or is to come.

    Args:
        result: of a stress test.
        model: by its name there.
        attack: such as "pgd".
        like: only runs with settings that this one has; of all its own if None.

    Returns:
        Positions of the images, and whether each stays right, (images,) both.
    """
    known = (like or result).cells.values()
    labels = [p.name for c in known if (p := c.cell.perturbation).name.partition("-")[0] == attack]
    cells = [result.find_all(model, "attack", label) for label in dict.fromkeys(labels)]
    if (
        not cells
        or not all(cells)
        or any(key.startswith(f"{model}--attack-{attack}".replace(" ", "_")) for key in result.missing)
    ):
        return None
    runs = [result.per_image(model, "attack", one[0].cell.perturbation.name) for one in cells]
    return runs[0][0].numpy(), np.min([right.numpy() for _, right in runs], 0)


def _both(one: Answers | None, other: Answers | None) -> Answers | None:
    """Say which images two attacks both leave right, of those that both were run on; None if one lacks."""
    if one is None or other is None:
        return None
    return np.intersect1d(one[0], other[0]), np.minimum(*_common(one, other))


def _common(ours: Answers, theirs: Answers) -> Right:
    """Take right or wrong of the images that both were run on."""
    common = np.intersect1d(ours[0], theirs[0])
    return ours[1][np.isin(ours[0], common)], theirs[1][np.isin(theirs[0], common)]


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


def settled(streams: Sequence[StressResult]) -> list[Right]:
    """Say what guard and base got right, for each seed, from so many images after the drift ended on."""
    pairs = []
    for result in streams:
        bases = {_stream(one): one for one in result.find_all("none", "noise", order="drifting")}
        for ours in result.find_all("guard", "noise", order="drifting"):
            begin = math.ceil(DRIFT[-1] * (ours.cell.count + ours.cell.warmup)) - ours.cell.warmup + SETTLED
            base = bases.get(_stream(ours))
            if base is not None and begin < len(ours.correct):
                pairs.append((ours.correct[begin:].numpy(), base.correct[begin:].numpy()))
    return pairs


def _stream(result: CellResult) -> tuple[str, int, int]:
    cell = result.cell
    return cell.perturbation.key, cell.count, cell.warmup
