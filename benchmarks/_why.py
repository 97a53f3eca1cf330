"""Why a goal was not reached, or not measured: one explanation for each, or the page is not written."""

from typing import Any

from _goals import is_reached

# benchmark: what the goal's name begins with, and why
WHY: dict[str, dict[str, str]] = {
    "scan": {
        "fraction of the arithmetic limit, forward": (
            "What is not counted in the limit, above all softplus, the gate and waiting for memory, takes the "
            "rest: see the row `cached`, where all data fit into the second cache. This processor does two "
            "512-bit multiply-adds a cycle, twice as many as the one that the goal was set on, with no more "
            "memory bandwidth a core."
        ),
        "fraction of the arithmetic limit, backward": (
            "In the second cache (row `cached`) the kernel comes near; from memory it waits. Of its own time at "
            "shape a, sampled: the states 55 %, softplus, gate and their slopes 24 %, reading and writing tiles "
            "17 %, the sums of dB and dC 4 %. This processor does two 512-bit multiply-adds a cycle, twice as "
            "many as the one that the goal was set on, with no more memory bandwidth a core."
        ),
        "forward against the plain loop, b": (
            "The loop runs 3.7 times as fast here as where the goal was set (1,189 ms there, on Zen 4), ours 2.4 "
            "times (11.4 ms there). One thread of ours is at more than half of the arithmetic limit; two wait for "
            "memory and for the pages of a fresh output (see Threads)."
        ),
        "forward against the plain loop, c": (
            "The loop takes 122 ms where the goal was set, and a fifth of that here: its 65 steps work on 0.5 MB "
            "at a time, which fits into this processor's second cache. Ours takes 0.93 ms (2.6 ms there), and is "
            "at half of the arithmetic limit on one thread."
        ),
        "forward + backward against the plain loop, b": (
            "Nearly half of the 28 ms are the system's, which clears the pages of fresh outputs of 12 MB each: "
            "alone, where the allocator still holds them, the same call takes 15 ms (see Threads), and with "
            "`cli.allocator.keep_freed_memory`, as in every command, 16 ms beside 587 ms of the loop."
        ),
        "forward + backward against the plain loop, c": (
            "As forward: what the loop works on at a time fits into the second cache here."
        ),
        "dearest over cheapest token": (
            "From 8,192 tokens on, gradients exceed 8 MB each, from 32,768 on y exceeds 32 MB, and glibc takes "
            "fresh pages for them from the system at every call, which clears them; with memory kept, the op at "
            "65,536 tokens took 40.6 ms on one thread, of which the kernel had 40.2: 614 ns a token."
        ),
        "time with AVX2 over AVX-512": (
            "On this processor AVX-512 does twice the arithmetic of AVX2 in a cycle (two 512-bit multiply-adds); "
            "the goal was set on one that does as much of both. The limit is then 2, less what does not depend on "
            "the width."
        ),
        "Triton on an H100": (
            "No GPU was at hand. The kernels are interpreted in the tests and compiled for sm_90; see decision 10."
        ),
    },
    "conv": {
        "forward": (
            "The goal is taken at the worst shape and layout: channel-first at (64, 384, 64), where torch takes "
            "1.1 ms. Ours takes 0.43 ms to read and write 13 MB, about half of what a copy reaches, with SiLU's "
            "exponential and division. In channel-last memory, which our models use, the least ratio is 4.2."
        ),
    },
    "step": {
        "float32, share of the memory bandwidth": (
            "Nearly all the time is in torch's matrix-vector products, which read weights at half of what a plain "
            "sum does; the scan and the convolution take microseconds."
        ),
        "float32, against transformers": ("Both spend their time in the same matrix-vector products."),
        "bfloat16, share of the memory bandwidth": ("As in float32."),
        "bfloat16, against transformers": ("Both spend their time in the same matrix-vector products."),
    },
    "training_step": {
        "share of the time in matrix products": (
            "The products themselves became about twice as fast here, by oneDNN (decision 8), which lowers their "
            "share; the scan, which computes 16 exponentials for each number, is then as large. What else there "
            "is: the sums of gradients that come from two directions, and the concatenation of the projections' "
            "gradients (2 %)."
        ),
        "mambapy, in our steps": (
            "The ratio is to our steps of the same rounds. Right after mambapy's, which takes 15.7 s and about 10 "
            "GB, ours takes 1.4 s instead of 0.67; against ours alone the ratio is 23. Two earlier runs gave 19.4 "
            "and 14.9."
        ),
        "float32, in bfloat16 steps": (
            "The float32 step uses oneDNN (decision 8), which leaves bfloat16 less to gain; the arithmetic of the "
            "scan is float32 in both."
        ),
    },
    "robustness": {
        "drifting": (
            "See the line of the drifting stream: where the noise has just ended or just begun, at a tenth of its "
            "peak, the whole batch of 200 is repaired, which costs more than so little noise does; in the next stretch "
            "the guard is the base again, and under the noise it is ahead by up to 65 points."
        ),
        "corruptions: guard minus best peer": (
            "The best peer by this measure is the adaptation of norm statistics. The guard leads by 8 to 23 points "
            "where much is lost (Gaussian and impulse noise, snow, frost, fog, contrast) and falls behind by up to 1.5 "
            "where little is (elastic deformation, motion blur): deformed or blurred pictures have other moments "
            "because they show something else, and moving those back costs more than it gives."
        ),
        "PGD-20, guard": (
            "A push of 8/255 changes the states by less than healthy images differ: of the images under attack few are "
            "flagged, and a repair of moments cannot tell a push from what is shown. The attack exploits that the "
            "maps of the repair are nearly those of the bare model, so that its gradient is of use with the statistics "
            "held constant, the strongest way, and even without the guard. More robustness has to be trained."
        ),
        "inference time, all samples repaired": (
            "The goal is met on healthy batches, where the guard only looks. Where all 64 samples are repaired at "
            "all guarded places, each of their states is written in token modes, mapped band by band and written back."
        ),
        "memory, all samples repaired": (
            "As above: the states in token modes and their maps are held beside the states themselves."
        ),
    },
}


def why(benchmark: str, results: dict[str, Any]) -> str:
    """List the goals that were not reached or not measured, with the reason.

    Raises:
        SystemExit: one of them has no explanation.
    """
    lines = []
    for goal in results["goals"]:
        if is_reached(results, goal):
            continue
        reasons = [text for begins, text in WHY.get(benchmark, {}).items() if goal.startswith(begins)]
        if not reasons:
            raise SystemExit(f"{benchmark}: goal {goal!r} was not reached and has no explanation; write it in _why.py")
        lines.append(f"- {goal}: {reasons[0]}")
    return "\n".join(["Goals that were not reached, or not measured:", "", *lines]) if lines else ""
