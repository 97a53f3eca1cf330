"""Write docs/benchmarks.md, and the figures of the README, from the results files.

python benchmarks/_tables.py            # after a benchmark
python benchmarks/_tables.py --check    # is what is written what the files say?
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from _figure import FIGURE, draw_speed
from _goals import is_reached
from _inspection_pages import inspection_parts
from _mending_tables import arms, gap, interval, steps, verdict
from _robust_pages import robustness_parts
from _speed_pages import conv_parts, cross_parts, scan_parts, shared_parts, step_parts, training_parts
from _why import why

HERE = Path(__file__).parent
PAGE, README = HERE.parent / "docs" / "benchmarks.md", HERE.parent / "README.md"
BLOCK = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)
SPEED = {  # benchmark: its heading, and what lays it out
    "scan": ("The scan", scan_parts),
    "cross_scan": ("The scan of a grid", cross_parts),
    "conv": ("The convolution", conv_parts),
    "step": ("Decoding", step_parts),
    "training_step": ("A training step", training_parts),
    "shared_core": ("A core held by another process", shared_parts),
    "inspection": ("Looking inside", inspection_parts),
}
SECTIONS = SPEED | {"robustness": ("Robustness", robustness_parts)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if a page is not what the files say")
    args = parser.parse_args()
    pages = {PAGE: page(), README: BLOCK.sub(lambda m: m[1] + figures() + m[2], README.read_text())}
    for path, text in pages.items():
        if args.check and (not path.exists() or path.read_text() != text):
            raise SystemExit(f"{path.name} is not what benchmarks/results says; run: python benchmarks/_tables.py")
        path.write_text(text)
    if not args.check:
        draw_speed(read("scan"), HERE.parent / FIGURE)
    elif not (HERE.parent / FIGURE).exists():
        raise SystemExit(f"{FIGURE} is not there; run: python benchmarks/_tables.py")


def page() -> str:
    """Write the whole page."""
    parts = [
        "# Benchmarks",
        "Written by `benchmarks/_tables.py` from `benchmarks/results/`; `make bench` runs them all. Accuracies are in "
        "percent, with 95 % intervals over seeds and images (bootstrap); gains are in points, paired by image. Times "
        "are medians of interleaved runs; the files also have the quartiles.",
        *decoy_parts(read("decoy")),
        *mend_parts(read("mend")),
    ]
    for name, (heading, lay_out) in SECTIONS.items():
        parts.append(f"## {heading} (`benchmarks/{name}.py`)")
        found = [*lay_out(read(name)), why(name, read(name)), where(read(name))] if is_there(name) else ["Not run yet."]
        parts += found
    step = read("mending_step")
    parts += [
        "## A mending step (`benchmarks/mending_step.py`)",
        "Forward, backward, clipping and AdamW, in plain training steps of the same images; the goal is at most "
        f"{step['goal']:g}.",
        steps(step),
        where(step),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def decoy_parts(decoy: dict[str, Any]) -> list[str]:
    tables = decoy["tables"]
    return [
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
    ]


def mend_parts(mend: dict[str, Any]) -> list[str]:
    return [
        "## Fashion-MNIST without decoys (`benchmarks/mend.py`)",
        "Nothing is planted, so there may be nothing to mend. Five seeds with a base each, "
        f"{mend['config']['steps']} steps, masks of what is not black.",
        arms(mend["table"], ("test",)),
        verdict(mend["table"]),
        where(mend),
    ]


def figures() -> str:
    """Write the README's few lines."""
    decoy, mend, step = (read(name) for name in ("decoy", "mend", "mending_step"))
    every, few = decoy["tables"]["all_masks"], decoy["tables"]["masks_0.05"]
    best_swap = max(few["swap"], few["swap-strong"], key=lambda row: row["test"]["mean"])
    costs = [found["steps"]["+Ext, path"]["ratio"] for found in step["results"].values()]
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
        f"is, {verdict(mend['table'])[0].lower()}{verdict(mend['table'])[1:]} A mending step costs {min(costs):.1f} to "
        f"{max(costs):.1f} plain steps. {speed()}",
        "",
        f"![How many times as long other scans take, and what a token costs at each length]({FIGURE})",
    ]
    return "\n".join(lines) + "\n"


def speed() -> str:
    """Sum up the speed in a sentence, and the goals of every benchmark that was run."""
    scan = read("scan")
    forward, both = (scan["reached"][f"{what} against the plain loop, a"] for what in ("forward", "forward + backward"))
    said = f"The scan, on {scan['machine']['threads']} cores, is {forward:.0f} times as fast as a plain torch loop "
    said += f"forward and {both:.0f} times with backward"
    if is_there("training_step"):
        ratio = read("training_step")["reached"].get("plain loop, in our steps")
        said += f", a whole training step {ratio:.1f} times" if ratio else ""
    found = [is_reached(read(name), goal) for name in SPEED if is_there(name) for goal in read(name)["goals"]]
    said += f"; of {len(found)} goals for speed {found.count(True)} are reached"
    said += f", {found.count(False)} are not" if False in found else ""
    said += f", {found.count(None)} not measured" if None in found else ""
    return said + ". All tables: [benchmarks](docs/benchmarks.md)."


def where(results: dict[str, Any]) -> str:
    """Name the machine."""
    place = results["machine"]
    torch = place.get("torch") or place["versions"]["torch"]
    return f"Machine: {place['processor']}, {place['threads']} thread(s) a process, torch {torch}."


def is_there(name: str) -> bool:
    return (HERE / "results" / f"{name}.json").exists()


def read(name: str) -> dict[str, Any]:
    return json.loads((HERE / "results" / f"{name}.json").read_text())


if __name__ == "__main__":
    main()
