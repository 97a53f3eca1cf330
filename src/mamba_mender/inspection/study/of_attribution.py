"""How much each token of one input contributed to what the model says, by every method."""

from typing import Any

import torch

from mamba_mender.inspection.attribution import attribute
from mamba_mender.inspection.attribution.attribute import METHODS
from mamba_mender.inspection.study.parts import Parts
from mamba_mender.inspection.study.sample import Sample


def describe_attribution(sample: Sample) -> dict[str, Any]:
    """Attribute the predicted class or token to the tokens.

    Returns:
        By method of :func:`mamba_mender.inspection.attribution.attribute`.
    """
    found = Parts()
    target = torch.tensor([sample.target], device=sample.inputs.device)
    for method in METHODS:
        found.add(method, lambda method=method: attribute(sample.model, sample.inputs, target, method=method))
    return found
