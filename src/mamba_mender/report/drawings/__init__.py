"""Drawings of what inspection and repair find, one file an area; importing this registers them all with `plot`."""

from mamba_mender.report.drawings import (
    attention,
    attribution,
    causality,
    dynamics,
    evolution,
    guard,
    neurons,
    similarity,
    study,
)

__all__ = ["attention", "attribution", "causality", "dynamics", "evolution", "guard", "neurons", "similarity", "study"]
