"""How much each token of one input contributed to what the model says, by every method."""

from typing import Any

import torch

from mamba_mender.inspection.attribution import attribute
from mamba_mender.inspection.attribution.attribute import METHODS
from mamba_mender.inspection.study.parts import Parts
from mamba_mender.inspection.study.sample import Sample

STEPS, MOST_STEPS = 32, 128  # points on the path of integrated gradients, doubled until the sum is complete
TOKENS = 512  # differentiated at once along the path of integrated gradients


def describe_attribution(sample: Sample) -> dict[str, Any]:
    """Attribute the predicted class or token to the tokens.

    Returns:
        By method of :func:`mamba_mender.inspection.attribution.attribute`.
    """
    found = Parts()
    target = torch.tensor([sample.target], device=sample.inputs.device)
    tokens = next(iter(sample.states.values())).shape[1]
    for method in METHODS:
        more: dict[str, Any] = path_settings(tokens) if method == "integrated_gradients" else {}
        found.add(method, lambda m=method, o=more: attribute(sample.model, sample.inputs, target, method=m, **o))
    return found


def path_settings(tokens: int) -> dict[str, int]:
    """Bound the time and memory of integrated gradients: points on the path, and embeddings differentiated at once.

    Where the sum is not complete with the most points, the method is told to have failed.

    Example:
        >>> path_settings(128)
        {'batch_size': 4, 'steps': 32, 'most_steps': 128}
    """
    return {"batch_size": max(1, TOKENS // tokens), "steps": STEPS, "most_steps": MOST_STEPS}
