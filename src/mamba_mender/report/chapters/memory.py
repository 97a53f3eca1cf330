"""The page's sections on the records and on the memory of the scans."""

from typing import Any

import torch

from mamba_mender.inspection.study import Inspection
from mamba_mender.report.chapters.exhibit import Chapter, Exhibit, ending, one, results_of
from mamba_mender.report.inspect_depth import spectra, spread_by_layer

RECORDS = Chapter(
    "records",
    "Records",
    "The records",
    "Every scan was recorded while the model ran as always, and computed once more from the record in float64. What "
    "follows is read from these records, so it can be no better than they are.",
    (
        Exhibit(
            "proof",
            "Error of each recorded scan",
            "Every mark must lie below the dotted line, which is what rounding alone explains.",
            "states",
            one("states", "proof"),
        ),
    ),
)


def _spectra(found: Inspection, which: int | None) -> dict[str, Any]:
    spectrum = ending(results_of(found, "states", which), "spectrum")
    return {"": spectra({name: (own.histogram.sum(0), own.edges) for name, own in spectrum.items()})}


def _half_lives(found: Inspection, which: int | None) -> dict[str, Any]:
    results = results_of(found, "states", which)
    half, radius = ending(results, "half_life"), ending(results, "radius")
    title = "Half-life at the mean step"
    panels = {
        title: ({name: own.constant for name, own in half.items()}, "tokens"),
        "How far back outputs read": ({name: own.mean for name, own in radius.items()}, "mean distance, tokens"),
    }
    return {"": spread_by_layer(panels, log=[title], level=(title, _length(results), "length of the input"))}


def _length(results: dict[str, Any]) -> float:
    """The number of tokens that the scans read."""
    return float(next(iter(ending(results, "contribution").values())).share.shape[1])


def _say_half_lives(found: Inspection, which: int | None) -> list[str]:
    results = results_of(found, "states", which)
    every = torch.cat([own.constant.flatten() for own in ending(results, "half_life").values()])
    length = _length(results)
    share, short = float((every > length).double().mean()), float((every < 1).double().mean())
    return [
        f"{100 * share:.0f} % of all state coordinates remember half of a write for longer than this input's "
        f"{length:.0f} tokens, {100 * short:.0f} % for less than one token."
    ]


def _shares(found: Inspection, which: int | None) -> dict[str, Any]:
    results = results_of(found, "states", which)
    old = {name: own.share for name, own in ending(results, "contribution").items()}
    skip = {name: own.channel_share for name, own in ending(results, "skip").items()}
    panels = {
        "Old state against new write": (old, "share of the old state"),
        "Past the state (skip D)": (skip, "share of the skip in y"),
    }
    return {"": spread_by_layer(panels)}


def _ranks(found: Inspection, which: int | None) -> dict[str, Any]:
    results = results_of(found, "states", which)
    state = {name: own.channel_rank for name, own in ending(results, "state").items()}
    step = {name: own.mean for name, own in ending(results, "delta").items()}
    panels = {
        "Dimensions that a channel's state uses": (state, "effective rank"),
        "Mean step of each channel": (step, "delta"),
    }
    return {"": spread_by_layer(panels, log=["Mean step of each channel"])}


def _of_last(found: Inspection, which: int | None, kind: str) -> dict[str, Any]:
    own = ending(results_of(found, "states", which), kind)
    name = list(own)[-1]
    return {name: own[name]}


MEMORY = Chapter(
    "memory",
    "Memory",
    "What the states remember, and for how long",
    "A scan keeps a small state for each channel. At each token every number of it is multiplied by an eigenvalue "
    "a = exp(step A) between 0 (forget all) and 1 (keep all), and something new is added. So the eigenvalues say how "
    "long a write lasts.",
    (
        Exhibit(
            "spectra",
            "Spectrum of the transition",
            "Bright at the top: coordinates that keep what was written; bright at the bottom: coordinates that see "
            "little more than the token itself.",
            "states",
            _spectra,
        ),
        Exhibit(
            "half-life",
            "Half-life by layer",
            "Left: compare the middle of each layer with the length of the input; above the dotted line a layer can "
            "carry its writes to the end. Right: how far back it really reads.",
            "states",
            _half_lives,
            say=_say_half_lives,
        ),
        Exhibit(
            "shares",
            "What the state and the output are made of",
            "Left: near 1 the state is mostly memory, near 0 mostly the token just read. Right: near 1 a layer passes "
            "its input on and hardly uses its state.",
            "states",
            _shares,
        ),
        Exhibit(
            "ranks",
            "How much of the state is used",
            "Left: of the numbers that each channel keeps, how many vary on their own. Right: small steps mean slow "
            "channels that write little and keep long.",
            "states",
            _ranks,
        ),
        Exhibit(
            "last-spectrum",
            "The last scan's spectrum in full",
            "A margin near 0 means that some coordinate forgets almost nothing at this token; a jump marks a token at "
            "which the scan clears its state.",
            "states",
            lambda found, which: _of_last(found, which, "spectrum"),
        ),
        Exhibit(
            "last-gramians",
            "What can be written, and what is read",
            "Only coordinates that are both reached by inputs and seen by outputs matter; the steeper the right "
            "curve rises, the fewer these are.",
            "states",
            lambda found, which: _of_last(found, which, "gramians"),
        ),
    ),
)
