"""What the inputs have in common: where their states lie, which neurons matter, what the steps do."""

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from mamba_mender.inspection.dynamics import DeltaStatistics, delta_statistics
from mamba_mender.inspection.neurons import (
    NeuronScores,
    attention_weighted_neurons,
    neuron_consistency,
    neuron_importance,
    neuron_selectivity,
)
from mamba_mender.inspection.similarity import cross_image_consistency, cross_text_consistency
from mamba_mender.inspection.study.parts import Parts
from mamba_mender.inspection.study.sample import Sample
from mamba_mender.inspection.study.stack import stack_scans
from mamba_mender.inspection.study.together import Together
from mamba_mender.taps import EMBEDDING

PERMUTATIONS = 199


def compare_inputs(samples: list[Sample]) -> dict[str, Any]:
    """Compare the inputs, layer by layer and scan by scan.

    Returns:
        "names" of the inputs compared; for each state, as in "3.h/texts" or "3.h/images", how far its pattern
        agrees; for each scan "/neurons", "/importance" and "/delta"; and "3.h/selectivity" of the neurons.
    """
    all_inputs = Together(samples)
    found = Parts(names=all_inputs.names)
    if len(all_inputs.names) < 2:
        found.lack("inputs", "what inputs have in common needs two of one shape or more")
        return found
    drawn: dict[str, Any] = {"permutations": PERMUTATIONS, "seed": all_inputs.seed}
    text = all_inputs.subject.kind == "text"
    for key, state in all_inputs.states.items():
        if text:
            found.add(f"{key}/texts", lambda state=state: cross_text_consistency(state, **drawn))
        else:
            patches = all_inputs.patches(state)
            found.add(f"{key}/images", lambda state=patches: cross_image_consistency(state, **drawn))
    for name in all_inputs.scan_names:
        scans = all_inputs.scans(name)
        scores = _join([attention_weighted_neurons(scan, all_inputs.position) for scan in scans])
        found.add(f"{name}/neurons", lambda scores=scores: neuron_consistency(scores, **drawn))
        found.add(f"{name}/importance", lambda scores=scores: neuron_importance(scores))
        found.add(f"{name}/delta", lambda scans=scans: _delta(scans, all_inputs.seed))
    _add_selectivity(found, all_inputs, drawn)
    return found


def _delta(scans: list[Any], seed: int) -> DeltaStatistics:
    return delta_statistics(stack_scans(scans), seed=seed)


def _join(scores: list[NeuronScores]) -> NeuronScores:
    tensors = {
        field.name: torch.cat([getattr(score, field.name) for score in scores])
        for field in fields(NeuronScores)
        if isinstance(getattr(scores[0], field.name), Tensor)
    }
    return NeuronScores(method=scores[0].method, **tensors)


def _add_selectivity(found: Parts, all_inputs: Together, drawn: dict[str, Any]) -> None:
    """Measure what the neurons of the first and last layer tell apart: classes of images, or tokens of texts."""
    layers = [key for key in all_inputs.states if key.block != EMBEDDING]  # a text's embedding is its token
    for key in sorted({min(layers), max(layers)}):
        state, name = all_inputs.states[key], f"{key}/selectivity"
        if all_inputs.subject.kind == "text":
            labels = all_inputs.inputs.flatten()
            rows, sequence = state.flatten(0, 1), torch.arange(len(state)).repeat_interleave(state.shape[1])
            options: dict[str, Any] = {"exchange": "rotation"}
        else:
            truths = [sample.given.truth for sample in all_inputs.samples]
            known = sorted({truth for truth in truths if truth is not None})
            labels = torch.tensor([known.index(truth) if truth is not None else -1 for truth in truths])
            rows, sequence, options = state.mean(1), torch.arange(len(state)), {}
        kept = _often(labels)
        if len(labels[kept].unique()) < 2:
            found.lack(name, "selectivity needs two classes or tokens that occur twice or more; give more inputs")
            continue
        if options:
            options["sequence"] = sequence[kept.cpu()].to(rows.device)
        found.add(
            name, lambda r=rows[kept], y=labels[kept], o=options: neuron_selectivity(r.cpu(), y.cpu(), **o, **drawn)
        )


def _often(labels: Tensor) -> Tensor:
    """Tell which rows have a label that is known and occurs at least twice."""
    values, place, counts = labels.unique(return_inverse=True, return_counts=True)
    return (counts[place] >= 2) & (values[place] >= 0)
