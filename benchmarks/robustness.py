"""How robust is a Vim on Fashion-MNIST, and what does the state guard add to it, beside its rivals?

A Vim of 277 thousand weights, trained by one fixed recipe (`_robust_base.py`) for each of three seeds, is put through
noise, the fifteen corruptions of ImageNet-C, streams, attacks and state faults: bare, with the guard, and with its
rivals. All choices were made on validation images and validation corruptions; the test split is run here, once.
Every cell is kept as it ends, so a run that was cut goes on.

    python benchmarks/robustness.py --quick
    python benchmarks/robustness.py                                  # everything; five hours and more on two cores
    python benchmarks/robustness.py --seeds 0 --parts noise streams  # a part of it
    python benchmarks/robustness.py --summarise                      # the results file, from what is there
"""

import argparse
import shutil
import time
from pathlib import Path

from _robust_base import OUT, images_of
from _robust_extras import extras_of, masking_of, mechanisms_of
from _robust_mixed import mixed_of
from _robust_models import models_of
from _robust_quick import quick_models, quick_suite
from _robust_suites import BATCH, ONCE, PARTS, Part
from _robust_summary import summarise

from mamba_mender.data import ImageData, load_data
from mamba_mender.stress import stress_test

OTHERS = {"extras": extras_of, "masking": masking_of, "mechanisms": mechanisms_of, "mixed": mixed_of}


def main() -> None:
    """Run what is missing, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="digits, a few steps: does it run at all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--parts", nargs="+", default=[*PARTS, *OTHERS], choices=[*PARTS, *OTHERS])
    parser.add_argument("--summarise", action="store_true", help="run nothing")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    if args.quick:
        quick(args.out.with_name("robustness-quick"))
        return
    if not args.summarise:
        data = images_of()
        for part in args.parts:
            for seed in args.seeds:
                if part in OTHERS:
                    print(OTHERS[part](seed, data, args.out), flush=True)
                else:
                    run_part(part, PARTS[part], seed, data, args.out)
    summarise(args.out)


def run_part(name: str, part: Part, seed: int, data: ImageData, out: Path) -> None:
    """Run a part for a seed, or what is missing of it."""
    began = time.monotonic()
    models = models_of(seed, data, tuple(n for n in part.models if seed == 0 or n not in ONCE), out)
    result = stress_test(models, data.test, part.suite, out=out / name / f"seed-{seed}", batch_size=BATCH, seed=0)
    print(f"-- {name}, seed {seed}: {len(result.cells)} cells, {time.monotonic() - began:.0f} s", flush=True)
    for cell in result.cells.values():
        print(f"   {cell.cell.key:70} {cell.accuracy}", flush=True)


def quick(out: Path) -> None:
    """Run each kind of cell once, on digits."""
    shutil.rmtree(out, ignore_errors=True)
    data = load_data("digits")
    result = stress_test(quick_models(data), data.test, quick_suite(), out=out, batch_size=50, progress=False)
    for cell in result.cells.values():
        print(f"{cell.cell.key:60} {cell.accuracy}")


if __name__ == "__main__":
    main()
