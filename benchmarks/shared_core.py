"""What is left of a model's speed while another process holds a core?

OpenMP's threads wait for each other by spinning or by sleeping. Where every core is free that hardly matters; where
one is taken, a thread that spins keeps the one that it waits for from running. The command line sets
OMP_WAIT_POLICY=passive before torch loads, unless a person has set it. Measured: forward passes and training steps of
a small Vim on two threads, in a process of its own for each policy, with and without a process that holds one core.

    python benchmarks/shared_core.py --quick
    python benchmarks/shared_core.py           # about five minutes
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _goals import told
from _timing import machine, timing_of, write_json

POLICIES = ("passive", "active", "not set")
PASSES = ("forward", "training step")
SIZES = {"vim 192 x 4, 64 tokens, batch 16": (4, 16), "vim 192 x 1, 64 tokens, batch 2": (1, 2)}  # layers, batch
GOALS = {f"slower while a core is held, passive, {what}": 3.0 for what in PASSES}  # two of three cores' worth is 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small model, one round: does it run at all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="for one process and pass")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "shared_core.json")
    parser.add_argument("--child", metavar="SIZE", help="print how long this process takes, as JSON")
    args = parser.parse_args()
    if args.child:
        print(json.dumps(own_times(args.child, args.threads, args.seconds)))
        return
    shape, policies = next(iter(SIZES)), POLICIES
    if args.quick:
        shape, policies, args.rounds, args.seconds = list(SIZES)[1], POLICIES[:1], 1, 0.2
        args.out = Path("runs/benchmarks/shared_core-quick.json")
    place = machine()
    print(f"{place['processor']}, {args.threads} threads, load {place['load']:.1f} before")
    taken = measure(shape, policies, args)
    results = {"machine": place | {"threads": args.threads}, "goals": GOALS, "at_most": list(GOALS)}
    results["rows"] = rows_of(shape, taken)
    results["reached"] = {
        f"slower while a core is held, passive, {row['pass']}": row["ratio"]
        for row in results["rows"]
        if row["way"] == "passive, a core held"
    }
    write_json(args.out, results)
    print("", *told(results), f"written: {args.out}", sep="\n")


def measure(shape: str, policies: tuple[str, ...], args: argparse.Namespace) -> dict[tuple[str, str], list[float]]:
    """Run every policy, free and shared, once a round; the seconds of each pass."""
    taken: dict[tuple[str, str], list[float]] = {}
    for turn in range(args.rounds):
        for policy in policies:
            for busy in (False, True):
                with held_core() if busy else free_cores():
                    found = in_child(shape, policy, args.threads, args.seconds)
                way = policy + (", a core held" if busy else "")
                for what, seconds in found.items():
                    taken.setdefault((way, what), []).append(seconds)
                told = ", ".join(f"{what} {1e3 * seconds:.1f} ms" for what, seconds in found.items())
                print(f"  round {turn + 1} of {args.rounds}, {way:22} {told}", flush=True)
    return taken


def in_child(shape: str, policy: str, threads: int, seconds: float) -> dict[str, float]:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if policy != "not set":
        environment["OMP_WAIT_POLICY"] = policy
    command = [sys.executable, __file__, "--child", shape, "--threads", str(threads), "--seconds", str(seconds)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def own_times(shape: str, threads: int, seconds: float) -> dict[str, float]:
    """Give the median seconds of each pass in this process."""
    import torch
    from _models import training_step, vim

    torch.set_num_threads(threads)
    layers, batch = SIZES[shape]
    model, images, labels = vim(32, 4, layers, batch)

    def forward() -> None:
        with torch.no_grad():
            model(images)

    found = {}
    for what, call in zip(PASSES, (forward, training_step(model, images, labels)), strict=True):
        call()
        taken, until = [], time.monotonic() + seconds
        while time.monotonic() < until or len(taken) < 3:
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
        found[what] = statistics.median(taken)
    return found


@contextmanager
def held_core() -> Iterator[None]:
    """Keep one core busy by another process, bound to it where the system can do that."""
    spin = "import os\nif hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    other = subprocess.Popen([sys.executable, "-c", spin + "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


@contextmanager
def free_cores() -> Iterator[None]:
    yield


def rows_of(shape: str, taken: dict[tuple[str, str], list[float]]) -> list[dict[str, Any]]:
    """Give a row to each way and pass; the ratio is to the same policy with every core free."""
    rows = []
    for (way, what), seconds in taken.items():
        free = taken[way.removesuffix(", a core held"), what]
        spread = asdict(timing_of(seconds, free)) if len(seconds) > 1 else {"median": 1e3 * seconds[0], "rounds": 1}
        rows.append({"shape": shape, "pass": what, "way": way, "ratio": seconds[0] / free[0]} | spread)
    return rows


if __name__ == "__main__":
    main()
