"""Write docs/benchmarks.md, and the figures of the README, from the results files.

python benchmarks/_tables.py            # after a benchmark
python benchmarks/_tables.py --check    # is what is written what the files say?
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE, README = HERE.parent / "docs" / "benchmarks.md", HERE.parent / "README.md"
BLOCK = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)
LABELS = {
    "base": "base",
    "control": "control: trains on",
    "control-time": "control, for as long as +Ext",
    "swap": "background swap",
    "swap-strong": "background swap, heavier",
    "ext": "+Ext",
    "int": "+Int",
    "all": "+All",
    "clean": "trained on clean images",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if a page is not what the files say")
    args = parser.parse_args()
    pages = {PAGE: page(), README: BLOCK.sub(lambda m: m[1] + figures() + m[2], README.read_text())}
    for path, text in pages.items():
        if args.check and (not path.exists() or path.read_text() != text):
            raise SystemExit(f"{path.name} is not what benchmarks/results says; run: python benchmarks/_tables.py")
        path.write_text(text)


def page() -> str:
    """Write the whole page."""
    decoy, mend, scan, step = (read(name) for name in ("decoy", "mend", "scan", "mending_step"))
    tables = decoy["tables"]
    parts = [
        "# Benchmarks",
        "Written by `benchmarks/_tables.py` from `benchmarks/results/`; `make bench` runs them all. Accuracies are in "
        "percent, with 95 % intervals over seeds and images (bootstrap); gains are in points, paired by image.",
        "## Decoy Fashion-MNIST (`benchmarks/decoy.py`)",
        "A 4 x 4 grey patch in a random corner tells the label in training and is random at test time. 10,000 training "
        "images, vim_micro (45 thousand parameters), three seeds with a base each; all arms of a table start from the "
        f"same base and take {decoy['config']['steps']} steps. Gap closed: (arm - base) / (trained on clean images - "
        "base) on the decoy test set; above 100 % the arm does better there than training on clean images does, which "
        "never saw a patch. Weights were chosen on validation images that have the training set's decoys, with swapped "
        "backgrounds.",
        arms(tables["all_masks"], ("test", "clean_test")),
        "With masks for 5 % of the images (500 of 10,000), weights 1, and the swap also at the weight chosen above; 55 "
        "masked validation images are too few to choose from:",
        arms(tables["masks_0.05"], ("test", "clean_test"), rivals=("swap", "swap-strong")),
        "The share of relevance at each image alone, in place of the path, weight 1 (see decision 7):",
        arms(tables["share_instead_of_path"], ("test", "clean_test")),
        where(decoy),
        "## Fashion-MNIST without decoys (`benchmarks/mend.py`)",
        "Nothing is planted, so there may be nothing to mend. Five seeds with a base each, "
        f"{mend['config']['steps']} steps, masks of what is not black.",
        arms(mend["table"], ("test",)),
        verdict(mend["table"]),
        where(mend),
        "## The scan (`benchmarks/scan.py`)",
        "Milliseconds, median of interleaved runs; in brackets how many times ours (channel-last) fits in.",
        scans(scan),
        where(scan),
        "## A mending step (`benchmarks/mending_step.py`)",
        "Forward, backward, clipping and AdamW, in plain training steps of the same images; the goal is at most "
        f"{step['goal']:g}.",
        steps(step),
        where(step),
    ]
    return "\n\n".join(parts) + "\n"


def figures() -> str:
    """Write the README's few lines."""
    decoy, mend, scan, step = (read(name) for name in ("decoy", "mend", "scan", "mending_step"))
    every, few = decoy["tables"]["all_masks"], decoy["tables"]["masks_0.05"]
    best_swap = max(few["swap"], few["swap-strong"], key=lambda row: row["test"]["mean"])
    best = {shape: found["steps"]["+Ext, path"]["ratio"] for shape, found in step["results"].items()}
    lines = [
        "| Decoy Fashion-MNIST, test accuracy | masks for all | masks for 5 % |",
        "|---|---|---|",
        f"| base | {interval(every['base']['test'])} | {interval(few['base']['test'])} |",
        f"| trains on (control) | {interval(every['control']['test'])} | {interval(few['control']['test'])} |",
        f"| background swap, the cheap rival | {interval(every['swap']['test'])} | {interval(best_swap['test'])} |",
        f"| **+Ext** | **{interval(every['ext']['test'])}** | **{interval(few['ext']['test'])}** |",
        f"| trained on clean images | {interval(every['clean']['test'])} | |",
        "",
        f"Gap closed by +Ext: {gap(every, 'ext')} with all masks, {gap(few, 'ext')} with 5 %. On Fashion-MNIST as it "
        f"is, {verdict(mend['table'])[0].lower()}{verdict(mend['table'])[1:]} The scan on two cores is "
        f"{scan['reached']['forward']:.0f} times as fast as a plain torch loop forward and "
        f"{scan['reached']['forward + backward']:.0f} times with backward; a mending step costs "
        f"{min(best.values()):.1f} to {max(best.values()):.1f} plain steps. "
        "All tables: [benchmarks](docs/benchmarks.md).",
    ]
    return "\n".join(lines) + "\n"


def arms(table: dict[str, Any], splits: tuple[str, ...], rivals: tuple[str, ...] = ()) -> str:
    """Lay out a table of arms."""
    versus = ["control", *rivals]
    heads = [split.replace("_", " ") for split in splits]
    heads += [f"test, over {LABELS[other].partition(':')[0]}" for other in versus] + [
        "gap closed",
        "weights",
        "steps",
        "seconds",
    ]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in (name for name in LABELS if name in table):
        row = table[name]
        cells = [interval(row[split]) if split in row else "" for split in splits]
        cells += [interval(row["test"][f"over_{o}"], signed=True) if f"over_{o}" in row["test"] else "" for o in versus]
        cells += [gap(table, name) if "gap_closed" in row else ""]
        cells += [", ".join(f"{loss} {weight:g}" for loss, weight in row["weights"][0].items() if weight)]
        cells += [span(row["steps"]), span(row["seconds"])]
        lines.append(f"| {LABELS[name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(table: dict[str, Any]) -> str:
    """Say which arms beat the control there, and which fall behind."""
    said = []
    for name in ("ext", "int", "all"):
        gain = table[name]["test"]["over_control"]
        word = "beats" if gain["low"] > 0 else "falls behind" if gain["high"] < 0 else "cannot be told from"
        said.append(f"{LABELS[name]} {word} the control ({interval(gain, signed=True)} points)")
    return "; ".join(said) + "."


def scans(results: dict[str, Any]) -> str:
    """Lay out the scan's times."""
    ways = list(dict.fromkeys(row["way"] for row in results["rows"]))
    lines = [
        "| shape (batch, channels, length, state) | pass | " + " | ".join(ways) + " |",
        "|---" * (len(ways) + 2) + "|",
    ]
    for key in dict.fromkeys((row["shape"], row["pass"]) for row in results["rows"]):
        rows = {row["way"]: row for row in results["rows"] if (row["shape"], row["pass"]) == key}
        sizes = ", ".join(str(size) for size in next(iter(rows.values()))["sizes"])
        cells = [f"{r['median']:.3g} ({r['ratio']:.1f})" if "median" in (r := rows[way]) else "-" for way in ways]
        lines.append(f"| {key[0]}: {sizes} | {key[1]} | " + " | ".join(cells) + " |")
    memory = [
        f"{row['way']} {row['memory_mb']:.0f}"
        for row in results["rows"]
        if row["shape"] == results["rows"][0]["shape"] and row["pass"] == "forward + backward" and row.get("memory_mb")
    ]
    reached = ", ".join(
        f"{what} {ratio:.1f} (goal {'at most' if what == 'second order' else 'at least'} {results['goals'][what]:g})"
        for what, ratio in results["reached"].items()
    )
    return (
        "\n".join(lines)
        + f"\n\nReached at the first shape, against the plain loop, and second order in first-order steps: {reached}. "
        f"Extra memory there, forward + backward, MB: {', '.join(memory)}."
    )


def steps(results: dict[str, Any]) -> str:
    """Lay out what a mending step costs."""
    names = list(next(iter(results["results"].values()))["steps"])
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    profiles = []
    for shape, found in results["results"].items():
        cells = [f"{found['steps'][name]['median']:.0f} ms ({found['steps'][name]['ratio']:.2f})" for name in names]
        lines.append(f"| {shape} | " + " | ".join(cells) + " |")
        shares = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in found["path_step_profile"].items())
        profiles.append(f"- {shape}: {shares}")
    return "\n".join(lines) + "\n\nWhere the time of a path step goes:\n\n" + "\n".join(profiles)


def where(results: dict[str, Any]) -> str:
    """Name the machine."""
    place = results["machine"]
    torch = place.get("torch") or place["versions"]["torch"]
    return f"Machine: {place['processor']}, {place['threads']} thread(s) a process, torch {torch}."


def interval(found: dict[str, float], *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    mean, low, high = (format(100 * found[end], f"{sign}.1f") for end in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def gap(table: dict[str, Any], name: str) -> str:
    found = table[name]["gap_closed"]
    return f"{100 * found['mean']:.0f} % ({', '.join(f'{100 * share:.0f}' for share in found['by_seed'])})"


def span(values: list[float]) -> str:
    low, high = round(min(values)), round(max(values))
    return str(low) if low == high else f"{low}-{high}"


def read(name: str) -> dict[str, Any]:
    return json.loads((HERE / "results" / f"{name}.json").read_text())


if __name__ == "__main__":
    main()
