"""Whether what the attributions call important is: tokens are replaced in their order, beside random orders."""

from typing import Any

from mamba_mender.inspection.attribution import compare_methods
from mamba_mender.inspection.study.of_attribution import path_settings
from mamba_mender.inspection.study.parts import Parts
from mamba_mender.inspection.study.sample import Sample
from mamba_mender.inspection.study.together import Together

INPUTS = 4  # inputs that are judged, since each is run again for every point of every curve
STEPS, DRAWS = 10, 5


def judge_attributions(samples: list[Sample]) -> dict[str, Any]:
    """Judge every method of attribution by deletion and insertion.

    Returns:
        "methods", a comparison with random orders, on at most four inputs.
    """
    some = Together(Together(samples).samples[:INPUTS])
    found = Parts(names=some.names)
    tokens = next(iter(some.states.values())).shape[1]
    options: dict[str, Any] = {"steps": min(STEPS, tokens), "draws": DRAWS, "seed": some.seed, "batch_size": 16}
    path = {"integrated_gradients": path_settings(tokens)}
    found.add("methods", lambda: compare_methods(some.model, some.inputs, some.targets, settings=path, **options))
    return found
