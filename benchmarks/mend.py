"""Fashion-MNIST without any decoy: is there a gain over a control of equal steps?

Nothing is planted. Foreground is what is not black: Otsu's threshold calls dark parts of garments background, and with
it the path constraint cost 3.5 points at the first seed (results/mend/otsu-*). Weights are chosen once, at the first
seed, on plain validation images; every seed has a base, a split and a data order of its own.

    python benchmarks/mend.py --quick
    python benchmarks/mend.py --seeds 0 1 & python benchmarks/mend.py --seeds 2 3 4 --wait; python benchmarks/mend.py
"""

import argparse
import json
from pathlib import Path

from _arms import base_of, chosen_weights, print_table, run_arms, summarise, wait_for, write_results

from mamba_mender.data import load_data
from mamba_mender.repair import MendConfig

FULL = MendConfig(
    architecture="vim_micro",
    base_steps=800,
    base_batch_size=128,
    steps=300,
    batch_size=128,
    masked_batch_size=64,
    internal_batch_size=64,
    weight_external=None,
    weight_internal=None,
    grid_external=(0.03, 0.1, 0.3, 1.0),
    selection_steps=120,
    judge="validation",
    augment=True,
)
QUICK = MendConfig(
    base_steps=40,
    steps=8,
    batch_size=32,
    masked_batch_size=16,
    internal_batch_size=16,
    easy_count=2,
    judge="validation",
)
ARMS = ("control", "ext", "int", "all")
SEEDS = (0, 1, 2, 3, 4)


def main() -> None:
    """Run what is missing, and write the results when all seeds are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="digits, a few steps: does it run at all")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--wait", action="store_true", help="wait for the weights that another process chooses")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/mend"))
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.out = [0], args.out.with_name("mend-quick")
    config = QUICK if args.quick else FULL
    chosen = args.out / "weights.json"
    for seed in args.seeds:
        folder = args.out / f"seed-{seed}"
        if args.quick:
            data = load_data("digits", seed=seed, limit=300, masks="nonzero")
        else:
            data = load_data("fashion-mnist", seed=seed, limit=10_000, masks="nonzero")
        base = base_of(data, config, seed, folder)
        run_arms(base, data, config, seed, folder, ["control"], None)
        if not chosen.exists() and not args.wait:
            run_arms(base, data, config, seed, folder, ["ext", "int"], None)
            chosen.write_text(json.dumps(chosen_weights(folder, seed, ("ext", "int"))))
        run_arms(base, data, config, seed, folder, ARMS, wait_for(chosen))
    seeds = args.seeds if args.quick else SEEDS
    folders = {seed: args.out / f"seed-{seed}" for seed in seeds}
    if not all((folders[seed] / "results" / f"all-{seed}.json").exists() for seed in seeds):
        print("other seeds are not finished; run again when they are")
        return
    table = summarise(folders)
    print_table(table, ("validation", "test"))
    if not args.quick:
        labels = {f"seed{seed}-": folder for seed, folder in folders.items()}
        print(write_results("mend", {"config": FULL.to_dict(), "table": table}, labels))


if __name__ == "__main__":
    main()
