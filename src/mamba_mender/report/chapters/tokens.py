"""The page's section on what recurs and breaks along the tokens."""

from typing import Any

import torch

from mamba_mender.inspection.study import Inspection
from mamba_mender.report.chapters.exhibit import Chapter, Exhibit, ending, one, place_name, results_of
from mamba_mender.report.inspect_tokens import shaded_lines


def _autocorrelation(found: Inspection, which: int | None) -> dict[str, Any]:
    results = results_of(found, "patterns", which)
    if not ending(results, "autocorrelation"):
        return {}
    stream = {
        place_name(name): own.value[1:].nanmedian(1).values for name, own in ending(results, "autocorrelation").items()
    }
    scans = ending(results, "state_autocorrelation")
    state = {_short(name): own.value[1:].nanmedian(1).values for name, own in scans.items()}
    label = {"xlabel": "lag, tokens", "ylabel": "autocorrelation, median", "first": 1}
    return {
        "stream": shaded_lines(stream, title="Channels of the residual stream", **label),
        "state": shaded_lines(state, title="Coordinates of the scans' states", **label),
    }


def _say_autocorrelation(found: Inspection, which: int | None) -> list[str]:
    own = ending(results_of(found, "patterns", which), "autocorrelation")
    if not own:
        return []
    first = torch.cat([result.baseline.p_value[0] for result in own.values()])
    share = float((first <= 0.05).double().mean())
    verdict = "no more than chance" if share <= 0.1 else "by chance it would be 5 %"
    return [f"At lag 1, {100 * share:.0f} % of the stream's channels have p <= 0.05: {verdict}."]


def _stability(found: Inspection, which: int | None) -> dict[str, Any]:
    own = ending(results_of(found, "patterns", which), "stability")
    if not own:
        return {}
    lines = {place_name(name): result.values[0] for name, result in own.items()}
    return {"": shaded_lines(lines, xlabel="token", ylabel="stability, 0 to 1", title="From token to token", first=1)}


def _say_stability(found: Inspection, which: int | None) -> list[str]:
    own = ending(results_of(found, "patterns", which), "stability")
    if not own:
        return []
    mean = torch.stack([result.mean[0] - result.shuffled[0] for result in own.values()])
    return [f"Stability less that of tokens in random order: {float(mean.min()):+.2f} to {float(mean.max()):+.2f}."]


def _changes(found: Inspection, which: int | None) -> dict[str, Any]:
    own = ending(results_of(found, "patterns", which), "changes")
    return {list(own)[-1]: list(own.values())[-1]} if own else {}


def _say_changes(found: Inspection, which: int | None) -> list[str]:
    own = ending(results_of(found, "patterns", which), "changes")
    seen = [name for name, result in own.items() if len(result.points)]
    if not own:
        return []
    if not seen:
        return ["At no layer does the size of the states change beyond chance along the tokens."]
    return [f"Change points beyond chance at {', '.join(seen)} ({len(seen)} of {len(own)}; one in 20 by chance)."]


def _short(scan: str) -> str:
    return scan.replace("backbone.", "").replace("layers.", "").replace(".mixer.", " ").replace("_scan", "").strip()


TOKENS = Chapter(
    "tokens",
    "Tokens",
    "Along the tokens",
    "What recurs in the states as the tokens go by, and where they break off.",
    (
        Exhibit(
            "autocorrelation",
            "Autocorrelation",
            "A line that falls slowly is memory: the value is much the same some tokens later. One that is at 0 from "
            "the first lag on holds nothing over.",
            "patterns",
            _autocorrelation,
            say=_say_autocorrelation,
        ),
        Exhibit(
            "stability",
            "Stability of the residual stream",
            "High: neighbouring tokens are in much the same state; a dip marks a token at which it breaks.",
            "patterns",
            _stability,
            say=_say_stability,
        ),
        Exhibit(
            "token-changes",
            "Change points along the tokens",
            "A vertical mark says that the states are of another size from there on.",
            "patterns",
            _changes,
            say=_say_changes,
        ),
        Exhibit(
            "recurrence",
            "Recurrence of the last layer's states",
            "Lines parallel to the diagonal are passages that the model goes through twice in the same way.",
            "evolution",
            one("evolution", "recurrence"),
        ),
    ),
)
