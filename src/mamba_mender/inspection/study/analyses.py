"""The analyses of an inspection, by name: of one input, and across inputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mamba_mender._check import UserError, nearest
from mamba_mender.inspection.study.across_causality import intervene
from mamba_mender.inspection.study.across_consistency import compare_inputs
from mamba_mender.inspection.study.across_faithfulness import judge_attributions
from mamba_mender.inspection.study.across_similarity import compare_layers, predict_states
from mamba_mender.inspection.study.activations import describe_activations
from mamba_mender.inspection.study.of_attention import describe_attention
from mamba_mender.inspection.study.of_attribution import describe_attribution
from mamba_mender.inspection.study.of_correlations import describe_correlations
from mamba_mender.inspection.study.of_evolution import describe_evolution
from mamba_mender.inspection.study.of_neurons import describe_neurons
from mamba_mender.inspection.study.of_patterns import describe_patterns
from mamba_mender.inspection.study.of_states import describe_states


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


OF_INPUT: tuple[Analysis, ...] = (
    Analysis("states", "ssm_components", describe_states),
    Analysis("attention", "attention", describe_attention),
    Analysis("neurons", "neurons", describe_neurons),
    Analysis("activations", "activations", describe_activations),
    Analysis("correlations", "correlations", describe_correlations),
    Analysis("patterns", "recursive_patterns", describe_patterns),
    Analysis("evolution", "evolution", describe_evolution),
    Analysis("attribution", "attribution", describe_attribution),
)
ACROSS: tuple[Analysis, ...] = (
    Analysis("consistency", "consistency", compare_inputs),
    Analysis("similarity", "similarity", compare_layers),
    Analysis("faithfulness", "faithfulness", judge_attributions),
    Analysis("prediction", "prediction", predict_states),
    Analysis("causality", "causality", intervene),
)


def choose_analyses(only: Sequence[str] | None) -> tuple[list[Analysis], list[Analysis]]:
    """Choose analyses by name; None takes all.

    Returns:
        Those of one input, and those across inputs.

    Raises:
        UserError: a name is unknown, or there is none.

    Example:
        >>> [[analysis.name for analysis in part] for part in choose_analyses(["causality", "states"])]
        [['states'], ['causality']]
    """
    if only is not None and not only:
        raise UserError("inspect: no analysis is named; leave only out (--only) to run them all.")
    known = [analysis.name for analysis in (*OF_INPUT, *ACROSS)]
    for name in only or ():
        if name not in known:
            raise UserError(f"inspect: no analysis {name!r}; {nearest(name, known)} (--only).")
    wanted = known if only is None else only
    return [a for a in OF_INPUT if a.name in wanted], [a for a in ACROSS if a.name in wanted]
