"""Drawings of what inspection finds, one file an area; importing this package registers them all with `plot`."""

from mamba_mender.report.drawings import (
    attention,
    attribution,
    causality,
    dynamics,
    evolution,
    neurons,
    similarity,
    study,
)

__all__ = ["attention", "attribution", "causality", "dynamics", "evolution", "neurons", "similarity", "study"]
