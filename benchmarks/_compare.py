"""Time every way to scan at one shape and pass, print the table, and give its rows."""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from _agree import assert_agree
from _scans import BOTH, COMPILED, LOOP, OURS, SECOND, WAYS, Sizes, call_of, compiled_loop, why_not
from _timing import Timing, in_own_process, interleave, peak_memory


def compare(shape: str, sizes: Sizes, what: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time every way that can be, print the table, and return its rows."""
    if what == SECOND and sizes[2] > 10_000:
        return []
    print(f"\n{shape}: batch {sizes[0]}, channels {sizes[1]}, length {sizes[2]}, state {sizes[3]}; {what}", flush=True)
    reasons = {way: why_not(way, sizes, what) for way in WAYS}
    assert_agree(sizes, what, [way for way, reason in reasons.items() if reason is None])
    calls = {way: call_of(way, sizes, what) for way, reason in reasons.items() if reason is None}
    compile_seconds = None
    if args.compile and shape in ("c", "small") and what != SECOND:
        reasons[COMPILED] = None
        calls[COMPILED], compile_seconds = compiled(sizes, what)
    timings = interleave(calls, seconds=args.seconds, least=args.least, most=args.most)
    rows = []
    for way, reason in reasons.items():
        row: dict[str, Any] = {"shape": shape, "sizes": sizes, "pass": what, "way": way}
        if reason:
            row["not_timed"] = reason
        else:
            row |= asdict(timings[way]) | {"memory_mb": None}
            if way == COMPILED:
                row["compile_seconds"] = compile_seconds
            elif not args.quick or (way, what) == (OURS, BOTH):
                row["memory_mb"] = memory_apart(sizes, way, what, args.threads)
        rows.append(row)
        print(line(way, reason, timings.get(way), row), flush=True)
    return rows


def compiled(sizes: Sizes, what: str) -> tuple[Callable[[], object], float]:
    """Compile the loop, see that it gives what the loop gives, and return the call and the seconds this took."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = call_of(LOOP, sizes, what)
        torch.manual_seed(0)  # the same weight of the outputs
        call = call_of(COMPILED, sizes, what, compiled_loop())
    began = time.monotonic()
    found = call()
    took = time.monotonic() - began
    torch.testing.assert_close(found, plain(), rtol=1e-3, atol=1e-3)
    print(f"  compiled in {took:.0f} s", flush=True)
    return call, took


def line(way: str, reason: str | None, timing: Timing | None, row: dict[str, Any]) -> str:
    if timing is None:
        return f"  {way:20} {reason}"
    spread = f"{timing.median:9.2f} ms ({timing.low:.2f} to {timing.high:.2f}, {timing.rounds} rounds)"
    memory = "" if row["memory_mb"] is None else f"{row['memory_mb']:7.0f} MB"
    return f"  {way:20} {spread:50} {timing.ratio:7.1f} x {memory}"


def memory_apart(sizes: Sizes, way: str, what: str, threads: int) -> float:
    """Measure the peak memory of one call in a process of its own, which runs scan.py --memory."""
    printed = in_own_process("--threads", str(threads), "--memory", ",".join(map(str, sizes)), way, what)
    if printed is None:
        raise SystemExit(f"{way}: its memory could not be measured; run it: --memory {sizes} {way!r} {what!r}")
    return float(printed)


def memory_of(sizes: Sizes, way: str, what: str) -> float:
    call_of(way, (1, 16, 2, sizes[3]), what)()  # what is loaded at the first call is not the call's
    return peak_memory(call_of(way, sizes, what))
