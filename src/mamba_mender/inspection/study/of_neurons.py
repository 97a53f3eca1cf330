"""Which channels matter for what the model says of one input."""

from typing import Any

import torch
from torch import Tensor

from mamba_mender.inspection.attention import attention_rollout
from mamba_mender.inspection.neurons import (
    attention_weighted_neurons,
    gradient_guided_neurons,
    neuron_importance,
    rollout_neurons,
)
from mamba_mender.inspection.predict import predict
from mamba_mender.inspection.study.sample import Sample
from mamba_mender.taps import StateKey, record


def describe_neurons(sample: Sample) -> dict[str, Any]:
    """Score the channels of every scan and of the residual stream.

    Returns:
        For each scan, as in "layers.3.mixer.scan/attention", its channels weighted by the attention of the target
        token; for each layer, as in "3.h/gradient" and "3.h/rollout", the channels of the residual stream by
        the gradient of the prediction and by the rollout; and for the scores of each kind "/importance".
    """
    found: dict[str, Any] = {}
    for name, scan in sample.each_scan():
        found[f"{name}/attention"] = attention_weighted_neurons(scan, sample.position)
    rollout = attention_rollout(sample.in_order, sample.position).values
    for key, (state, gradient) in with_gradients(sample).items():
        found[f"{key}/gradient"] = gradient_guided_neurons(state, gradient)
        found[f"{key}/rollout"] = rollout_neurons(state, rollout.to(state.dtype))
    scores = list(found.items())
    found |= {f"{name}/importance": neuron_importance(score) for name, score in scores if score.score.any()}
    return found


def with_gradients(sample: Sample) -> dict[StateKey, tuple[Tensor, Tensor]]:
    """Record the residual stream with the gradient of the predicted logit by it, both (1, tokens, channels).

    Returns:
        Key to state and gradient; the last layer's gradient is zero at tokens that the head does not read.
    """
    layers = [key.block for key in sample.states]
    with torch.enable_grad(), record(sample.model, "h", scans=False, blocks=layers) as run:
        logits = predict(sample.model, sample.inputs)
    gradients = run.gradients(logits[:, sample.target])
    return {key: (run.states[key].detach(), gradient.detach()) for key, gradient in gradients.items()}
