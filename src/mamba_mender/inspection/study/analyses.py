"""The analyses of an inspection, by name: of one input, and across inputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mamba_mender._check import UserError, nearest
from mamba_mender.inspection.study.activations import describe_activations
from mamba_mender.inspection.study.sample import Sample
from mamba_mender.inspection.study.scan_proof import prove_scans


@dataclass(frozen=True)
class Analysis:
    """One analysis.

    name: as a person names it (``--only``).
    file: the name of its files.
    run: what computes it, of one input or of all; returns names to results.
    """

    name: str
    file: str
    run: Callable[[Any], dict[str, Any]]


def _states(sample: Sample) -> dict[str, Any]:
    return {"proof": prove_scans(sample)}


OF_INPUT: tuple[Analysis, ...] = (
    Analysis("states", "ssm_components", _states),
    Analysis("activations", "activations", describe_activations),
)
ACROSS: tuple[Analysis, ...] = ()


def choose_analyses(only: Sequence[str] | None) -> tuple[list[Analysis], list[Analysis]]:
    """Choose analyses by name; None takes all.

    Returns:
        Those of one input, and those across inputs.

    Raises:
        UserError: a name is unknown.
    """
    known = [analysis.name for analysis in (*OF_INPUT, *ACROSS)]
    for name in only or ():
        if name not in known:
            raise UserError(f"inspect: no analysis {name!r}; {nearest(name, known)} (--only).")
    wanted = known if only is None else only
    return [a for a in OF_INPUT if a.name in wanted], [a for a in ACROSS if a.name in wanted]
