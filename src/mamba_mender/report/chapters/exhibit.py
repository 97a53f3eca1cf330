"""What a figure of an inspection's page is: where it comes from, and what to look for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from mamba_mender.inspection.similarity import Baseline
from mamba_mender.inspection.study import Inspection
from mamba_mender.inspection.study.parts import NotMeasured

ACROSS = 0  # of Exhibit.inputs: one figure for all inputs together
Draw = Callable[[Inspection, int | None], dict[str, Any]]
Say = Callable[[Inspection, int | None], list[str]]


@dataclass(frozen=True)
class Exhibit:
    """One figure of the page, or several of one kind.

    name: of its file.
    title: above it.
    look: one plain sentence that says what to look for.
    analysis: whose results it is drawn from.
    draw: gives figures, or results that `plot` draws, by name; an input's number is None across inputs. A
        :class:`NotMeasured` says why there is none.
    inputs: of how many inputs it is shown; 0 for one that is of all inputs.
    say: sentences that depend on what was found, such as that it is at chance.
    """

    name: str
    title: str
    look: str
    analysis: str
    draw: Draw
    inputs: int = 1
    say: Say = lambda _found, _which: []


@dataclass(frozen=True)
class Chapter:
    """One section of the page.

    place: its anchor. short: its name in the list of sections. title: its heading. about: what it is about.
    """

    place: str
    short: str
    title: str
    about: str
    exhibits: tuple[Exhibit, ...]


def results_of(found: Inspection, analysis: str, which: int | None) -> dict[str, Any]:
    """Load what an analysis found of one input, or across inputs (None)."""
    return found.across(analysis) if which is None else found.results(analysis, which)


def one(analysis: str, name: str) -> Draw:
    """Draw one result by its name; nothing where it is not there."""

    def draw(found: Inspection, which: int | None) -> dict[str, Any]:
        results = results_of(found, analysis, which)
        return {"": results[name]} if name in results else {}

    return draw


def ending(results: dict[str, Any], end: str) -> dict[str, Any]:
    """Take the results whose names end in "/" and this, by what stands before; those not measured are left out.

    Example:
        >>> ending({"layer 0/map": 1, "layer 0/top": 2, "rollout": 3}, "map")
        {'layer 0': 1}
    """
    return {
        name.removesuffix(f"/{end}"): result
        for name, result in results.items()
        if name.endswith(f"/{end}") and not isinstance(result, NotMeasured)
    }


def place_name(state: str) -> str:
    """Name a state of the residual stream in a legend.

    Example:
        >>> place_name("embedding"), place_name("3.h")
        ('emb.', '3')
    """
    return "emb." if state == "embedding" else state.removesuffix(".h")


def tell_baseline(baseline: Baseline, what: str, *, square: bool = False) -> str:
    """Say whether the largest of many values is more than chance gives.

    Args:
        baseline: of the values.
        what: what they are, such as "correlation of two layers".
        square: whether they are a symmetric matrix, whose pairs count once and whose diagonal does not.
    """
    adjusted = baseline.adjusted_p
    if square:
        rows, columns = torch.triu_indices(*adjusted.shape, offset=1)
        adjusted = adjusted[rows, columns]
    smallest = float(adjusted.nan_to_num(1.0).min())
    beyond = int((adjusted <= 0.05).sum())
    level = baseline.threshold()
    if not beyond:
        return (
            f"No {what} is beyond chance: chance alone reaches {float(level):.2f} among so many (p = {smallest:.2f})."
        )
    return (
        f"{beyond} of {adjusted.numel()} values ({what}) are beyond the {float(level):.2f} that chance "
        f"reaches among so many (p <= 0.05, corrected for their number)."
    )
