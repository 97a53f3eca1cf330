"""Decoy-FMNIST: does mending undo a planted shortcut, and does it need fewer masks than its cheap rival?

A grey 4x4 patch in a random corner tells the label in training and is random at test time (Ross et al. 2017).
Arms, all from the same base of their seed: control (trains on), control-time (trains on for as long on the clock
as +Ext), swap (cross-entropy on images with swapped backgrounds, the same masks), +Ext, +Int, +All; then swap and
+Ext with masks for 5 % of the images, where weights are 1: 55 masked validation images are too few to choose from
(the swap also at the weight that was chosen with all masks, which is 3: "swap-strong");
last +Ext with the share of relevance at each image alone ("share", weight 1) instead of along the path.
Weights are chosen once, at the first seed, on validation images with swapped backgrounds.

    python benchmarks/decoy.py --quick
    python benchmarks/decoy.py --seeds 0 & python benchmarks/decoy.py --seeds 1 2 --wait; python benchmarks/decoy.py
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from _arms import base_of, chosen_weights, print_table, run_arms, summarise, wait_for, write_results

from mamba_mender.data import load_data
from mamba_mender.repair import MendConfig

FULL = MendConfig(
    architecture="vim_micro",
    base_steps=800,
    base_batch_size=128,
    steps=400,
    batch_size=128,
    masked_batch_size=64,
    internal_batch_size=64,
    weight_external=None,
    weight_internal=None,
    weight_swap=None,
    selection_steps=120,
)
QUICK = MendConfig(base_steps=40, steps=10, batch_size=32, masked_batch_size=16, internal_batch_size=16, easy_count=2)
ARMS = ("control", "swap", "ext", "int", "all", "control-time")
FEW = ("control", "swap", "ext")
SHARE = 0.05
ONE = {"external": 1.0, "swap": 1.0}


def main() -> None:
    """Run what is missing, and write the results when all seeds are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="decoy digits, a few steps: does it run at all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--wait", action="store_true", help="wait for the weights that another process chooses")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/decoy"))
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.out = [0], args.out.with_name("decoy-quick")
    folders = {seed: args.out / f"seed-{seed}" for seed in args.seeds}
    few = {seed: args.out / f"few-{seed}" for seed in args.seeds}
    local = {seed: args.out / f"local-{seed}" for seed in args.seeds}
    strong = {seed: args.out / f"few-strong-{seed}" for seed in args.seeds}
    run(args, folders, few, local, strong)
    if args.quick:
        print_table(summarise(folders), ("test", "clean_test"))
        return
    folders = {seed: args.out / f"seed-{seed}" for seed in (0, 1, 2)}
    few = {seed: args.out / f"few-{seed}" for seed in (0, 1, 2)}
    local = {seed: args.out / f"local-{seed}" for seed in (0, 1, 2)}
    strong = {seed: args.out / f"few-strong-{seed}" for seed in (0, 1, 2)}
    last = [local[seed] / "results" / f"ext-{seed}.json" for seed in local]
    if not all(path.exists() for path in last):
        print("other seeds are not finished; run again when they are")
        return
    tables = {
        "all_masks": summarise(folders),
        f"masks_{SHARE:g}": summarise(few, folders, {"swap-strong": ("swap", strong)}),
    }
    tables["share_instead_of_path"] = summarise(local, folders)
    for label, table in tables.items():
        print(label)
        print_table(table, ("test", "clean_test"))
    labels = {f"share-seed{s}-": f for s, f in local.items()} | {f"few-strong-seed{s}-": strong[s] for s in strong}
    labels |= {f"all-masks-seed{s}-": f for s, f in folders.items()} | {
        f"few-masks-seed{s}-": f for s, f in few.items()
    }
    print(write_results("decoy", {"config": FULL.to_dict(), "tables": tables}, labels))


def run(
    args: argparse.Namespace,
    folders: dict[int, Path],
    few: dict[int, Path],
    local: dict[int, Path],
    strong: dict[int, Path],
) -> None:
    """Train every arm that is not there yet."""
    config = QUICK if args.quick else FULL
    load = ("decoy-digits", {"limit": 300}) if args.quick else ("decoy-fashion-mnist", {"limit": 10_000})
    chosen = args.out / "weights.json"
    for seed in args.seeds:
        data = load_data(load[0], seed=seed, **load[1])
        base = base_of(data, config, seed, folders[seed])
        run_arms(base, data, config, seed, folders[seed], ["control"], None)
        if not chosen.exists() and not args.wait:
            run_arms(base, data, config, seed, folders[seed], ["swap", "ext", "int"], None)
            weights = chosen_weights(folders[seed], seed, ("swap", "ext", "int"))
            chosen.write_text(json.dumps(weights))
    weights = wait_for(chosen)
    for seed in args.seeds:
        data = load_data(load[0], seed=seed, **load[1])
        base = base_of(data, config, seed, folders[seed])
        run_arms(base, data, config, seed, folders[seed], ARMS, weights)
        scarce = load_data(load[0], seed=seed, mask_share=SHARE, **load[1])
        again = base_of(scarce, config, seed, few[seed], model=base.path)
        run_arms(again, scarce, config, seed, few[seed], FEW, ONE)
        again = base_of(scarce, config, seed, strong[seed], model=base.path)
        run_arms(again, scarce, config, seed, strong[seed], ["swap"], {"swap": weights["swap"]})
        again = base_of(data, config, seed, local[seed], model=base.path)
        run_arms(again, data, replace(config, measure="share"), seed, local[seed], ("ext",), ONE)


if __name__ == "__main__":
    main()
