"""Time the scan's kernel by itself: one thread against the arithmetic limit, instruction sets, threads."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import ModuleType
from typing import Any

import torch
from _limits import BACKWARD, FORWARD, arithmetic_limit_ms
from _scans import BOTH, OURS, WAYS, Sizes, call_of, draw
from _scans import FORWARD as FORWARD_PASS
from _timing import interleave

from mamba_mender.ops import cpu, cpu_scan

LEAST, LONGEST = 5, 3.0  # measurements of one op, and the seconds after which they are enough


class Stopwatch:
    """Stand in for the extension: run each kernel many times where the op runs it once, and keep what it took.

    A kernel writes the same numbers each time, so the op goes on as if nothing had happened.
    """

    def __init__(self, extension: ModuleType, repeats: int) -> None:
        self.extension, self.repeats = extension, repeats
        self.taken: list[float] = []  # seconds of this thread

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.extension, name)
        return self.timed(found) if callable(found) else found

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            for _ in range(self.repeats):
                began = time.thread_time()
                result = function(*args)
                self.taken.append(time.thread_time() - began)
            return result

        return run


@contextmanager
def watched(repeats: int) -> Iterator[Stopwatch]:
    """Put a stopwatch around every kernel that the scan calls inside the block."""
    real = cpu_scan.extension
    stopwatch = Stopwatch(real(), repeats)
    cpu_scan.extension = lambda: stopwatch
    try:
        yield stopwatch
    finally:
        cpu_scan.extension = real


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def against_limit(shapes: dict[str, Sizes], limits: dict[str, Any], *, rounds: int) -> list[dict[str, Any]]:
    """Time forward and backward on one thread, the op with its outputs and the bare kernel, in thread CPU time."""
    rows = []
    for shape, sizes in shapes.items():
        inputs = draw(sizes)
        leaves, weight = list(inputs.values()), torch.randn_like(inputs["u"])
        with threads(1):
            y = WAYS[OURS].scan(**inputs)  # with what the backward pass needs

            def forward(inputs=inputs) -> None:
                with torch.no_grad():
                    WAYS[OURS].scan(**inputs)

            def backward(y=y, leaves=leaves, weight=weight) -> None:
                torch.autograd.grad(y, leaves, weight, retain_graph=True)

            for what, call, operations in ((FORWARD_PASS, forward, FORWARD), ("backward", backward, BACKWARD)):
                row: dict[str, Any] = {"shape": shape, "sizes": sizes, "pass": what}
                row["op_ms"], row["kernel_ms"] = own_times(call, rounds)
                if "not_measured" not in limits:
                    row["limit_ms"] = arithmetic_limit_ms(sizes, operations, limits)
                    row["fraction_op"] = row["limit_ms"] / row["op_ms"]
                    row["fraction_kernel"] = row["limit_ms"] / row["kernel_ms"]
                rows.append(row)
                fraction = f", {row['fraction_kernel']:.0%} of the limit" if "limit_ms" in row else ""
                print(f"  {shape:6} {what:9} op {row['op_ms']:.2f} ms, kernel {row['kernel_ms']:.2f} ms{fraction}")
    return rows


def own_times(call: Callable[[], None], rounds: int) -> tuple[float, float]:
    """Give the median ms of an op, and of the kernel inside it, in at most so many rounds.

    It is thread CPU time, so preemption is not in it.
    """
    taken = []
    while len(taken) <= rounds and (len(taken) <= LEAST or sum(taken) < LONGEST):
        began = time.thread_time()
        call()
        taken.append(time.thread_time() - began)
    rounds = len(taken) - 1  # the first is to warm up
    with watched(rounds) as stopwatch:
        call()
    if not stopwatch.taken:
        raise SystemExit("the scan ran without the kernel that is to be timed")
    return 1e3 * statistics.median(taken[1:]), 1e3 * statistics.median(stopwatch.taken)


def by_instruction_set(shape: str, sizes: Sizes, *, seconds: float, least: int) -> list[dict[str, Any]]:
    """Time ours with every instruction set that was built, on one thread; name those that the processor lacks."""
    rows: list[dict[str, Any]] = []
    sets = cpu.instruction_sets()
    for what in (FORWARD_PASS, BOTH):
        calls = {name: with_instruction_set(name, call_of(OURS, sizes, what)) for name in sets}
        with threads(1):
            timings = interleave(calls, seconds=seconds, least=least)
        for name in ("avx512", "avx2", "baseline"):
            row: dict[str, Any] = {"shape": shape, "sizes": sizes, "pass": what, "way": name}
            row |= (
                asdict(timings[name]) if name in timings else {"not_timed": "this processor, or this build, lacks it"}
            )
            rows.append(row)
            told = f"{row['median']:.2f} ms, {row['ratio']:.2f} x" if "median" in row else row["not_timed"]
            print(f"  {what:20} {name:9} {told}", flush=True)
    return rows


def with_instruction_set(name: str, call: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with cpu.force_instruction_set(name):
            call()

    return run


def by_threads(shapes: dict[str, Sizes], most: int, *, seconds: float, least: int) -> list[dict[str, Any]]:
    """Time ours on one thread, two, four ... and as many as are wanted; the ratio is to one thread."""
    counts = sorted({1, most} | {2**i for i in range(1, most.bit_length()) if 2**i <= most})
    rows = []
    for shape, sizes in shapes.items():
        for what in (FORWARD_PASS, BOTH):
            calls = {str(count): with_threads(count, call_of(OURS, sizes, what)) for count in counts}
            timings = interleave(calls, seconds=seconds, least=least)
            for count in counts:
                row = {"shape": shape, "sizes": sizes, "pass": what, "way": OURS, "threads": count}
                rows.append(row | asdict(timings[str(count)]))
            told = ", ".join(f"{count}: {timings[str(count)].median:.2f} ms" for count in counts)
            print(f"  {shape} {what:20} threads {told}", flush=True)
    return rows


def with_threads(count: int, call: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with threads(count):
            call()

    return run
