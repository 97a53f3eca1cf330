"""Train arms over seeds, each seed with a base of its own, and sum them up. Shared by decoy.py and mend.py."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from _timing import machine, write_json

from mamba_mender._interval import bootstrap_interval, paired_gain
from mamba_mender.data import ImageData
from mamba_mender.repair import ArmResult, Base, MendConfig, mend_arm, prepare_base

RESULTS = Path(__file__).parent / "results"


def base_of(data: ImageData, config: MendConfig, seed: int, out: Path, model: Path | None = None) -> Base:
    """Train, or read, the base of a seed, and where it can be had the bound trained on clean images."""
    config = replace(config, base_seed=seed)
    base = prepare_base(data, config, out, model=model, progress=False)
    tell(base.result)
    if model is None and data.clean_train is not None:
        tell(prepare_base(data, config, out, clean=True, progress=False).result)
    return base


def run_arms(
    base: Base,
    data: ImageData,
    config: MendConfig,
    seed: int,
    out: Path,
    arms: Iterable[str],
    weights: Mapping[str, float] | None,
) -> None:
    """Train, or read, the arms of a seed; without weights they are chosen on validation images."""
    config = replace(config, base_seed=seed, seeds=(seed,), selection_seed=seed)
    for arm in arms:
        given = {"external": 0.0, "internal": 0.0, "swap": 0.0} | dict(weights) if weights else None
        tell(mend_arm(base, data, arm, config, seed, out, weights=given, progress=False))


def chosen_weights(out: Path, seed: int, arms: Iterable[str]) -> dict[str, float]:
    """Read the weights that were chosen in a seed's run folder."""
    weights: dict[str, float] = {}
    for arm in arms:
        if result := ArmResult.load(out, arm, seed):
            weights |= result.weights
    return weights


def wait_for(path: Path, told_every: float = 60.0) -> dict[str, Any]:
    """Wait until another process has written a file of JSON, and read it."""
    began = told = time.monotonic()
    while not path.exists():
        if time.monotonic() - told > told_every:
            told = time.monotonic()
            print(f"waiting for {path} since {told - began:.0f} s", flush=True)
        time.sleep(1)
    return json.loads(path.read_text())


def summarise(
    folders: Mapping[int, Path],
    bases: Mapping[int, Path] | None = None,
    others: Mapping[str, tuple[str, Mapping[int, Path]]] | None = None,
) -> dict[str, Any]:
    """Compare every arm that all seeds have with the control of its seed, on the same images.

    Args:
        folders: run folder by seed.
        bases: where each seed's "base" and "clean" lie, if not in the same folder.
        others: arms of other folders to add: their name here, to their name and folders there.
    """
    bases = bases or folders
    names = {path.stem.rpartition("-")[0] for path in (next(iter(folders.values())) / "results").glob("*-*.json")}
    correct = {name: _correct(name, folders, bases) for name in sorted(names | {"base", "clean"}) if name != "choice"}
    correct |= {name: _correct(arm, there, there) for name, (arm, there) in (others or {}).items()}
    correct = {name: rows for name, rows in correct.items() if len(rows) == len(folders)}
    table: dict[str, Any] = {}
    for name, rows in correct.items():
        entry: dict[str, Any] = {"seeds": sorted(rows)}
        for split in next(iter(rows.values()))[1]:
            mine = [rows[seed][1][split].numpy() for seed in sorted(rows)]
            entry[split] = bootstrap_interval(mine).to_dict() | {"by_seed": [float(row.mean()) for row in mine]}
            for rival in ("control", "swap", "swap-strong", "base"):
                if rival in correct and rival != name and split in next(iter(correct[rival].values()))[1]:
                    its = [correct[rival][seed][1][split].numpy() for seed in sorted(rows)]
                    if all(len(a) == len(b) for a, b in zip(mine, its, strict=True)):  # else judged on other images
                        entry[split][f"over_{rival}"] = paired_gain(mine, its).to_dict()
        entry["seconds"] = [rows[seed][0].seconds for seed in sorted(rows)]
        entry["steps"] = [rows[seed][0].steps for seed in sorted(rows)]
        entry["weights"] = [rows[seed][0].weights for seed in sorted(rows)]
        if "clean" in correct and "base" in correct:
            entry["gap_closed"] = _gap(correct, name)
        table[name] = entry
    return table


def write_results(name: str, content: dict[str, Any], folders: Mapping[str, Path]) -> Path:
    """Write benchmarks/results/NAME.json, and beside it one JSON an arm and seed."""
    for label, folder in folders.items():
        for path in sorted((folder / "results").glob("*-*.json")):
            to = RESULTS / name / f"{label}{path.name}"
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text(path.read_text())
    content = {"machine": machine()} | content
    path = RESULTS / f"{name}.json"
    write_json(path, content)
    return path


def tell(result: ArmResult) -> None:
    """Print one finished training run."""
    shares = ", ".join(f"{split} {100 * share:.1f}" for split, share in result.accuracy.items())
    print(f"{result.name}: {shares}; {result.steps} steps, {result.seconds:.0f} s, {result.weights}", flush=True)


def print_table(table: Mapping[str, Any], splits: Iterable[str]) -> None:
    """Print accuracy in percent with its interval, and the gain over the control."""
    for name, entry in table.items():
        cells = []
        for split in splits:
            if split not in entry:
                continue
            own = entry[split]
            cells.append(f"{split} {100 * own['mean']:.1f} [{100 * own['low']:.1f}, {100 * own['high']:.1f}]")
            if gain := own.get("over_control"):
                cells[-1] += f" ({100 * gain['mean']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}])"
        gap = entry.get("gap_closed")
        print(f"{name:13s}", "; ".join(cells), f"; gap closed {100 * gap['mean']:.0f} %" if gap else "")


def _correct(name: str, folders: Mapping[int, Path], bases: Mapping[int, Path]) -> dict[int, tuple[ArmResult, Any]]:
    rows = {}
    for seed, folder in folders.items():
        home = bases[seed] if name in ("base", "clean") else folder
        if result := ArmResult.load(home, name, seed):
            rows[seed] = (result, result.correct(home))
    return rows


def _gap(correct: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Say how much of the way from the base to training on clean images an arm went, seed by seed."""
    shares = []
    for seed in sorted(correct[name]):
        own, base, clean = (correct[arm][seed][0].accuracy["test"] for arm in (name, "base", "clean"))
        shares.append((own - base) / (clean - base))
    return {"mean": sum(shares) / len(shares), "by_seed": shares}
