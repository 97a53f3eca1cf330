"""The rules of relevance in the layers that hybrids have beside scans: attention, MLPs, activations."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS = ("SiLU", "SiLUActivation", "GELU", "GELUActivation", "ReLU", "ReLUSquaredActivation", "NewGELUActivation")


def activation_rule(module: nn.Module, x: Tensor) -> Tensor:
    """Compute ``x * [f(x) / x]_c`` for an activation with f(0) = 0; at 0 the ratio is taken beside it."""
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    beside = torch.where(wide.abs() < 1e-6, 1e-6, wide)
    with torch.no_grad():
        ratio = type(module).forward(module, beside) / beside
    return (x * ratio).to(x.dtype)


def attention_hooks(model: nn.Module) -> Iterator[Any]:
    """Hook the rules to softmax attention, gated MLPs and activations, found by the names of their parts.

    Attention is a module with q_proj, k_proj and v_proj: what query and key say is held constant, so that relevance
    flows through the values. A gated MLP has gate_proj, up_proj and down_proj, or gate_up_proj and down_proj: its
    product gives each factor half.

    Yields:
        A handle that takes one hook away.
    """
    for module in model.modules():
        parts = dict(module.named_children())
        if {"q_proj", "k_proj", "v_proj"} <= parts.keys():
            for name in ("q_proj", "k_proj"):
                yield parts[name].register_forward_hook(lambda _module, _inputs, output: output.detach())
        if "down_proj" in parts and parts.keys() & {"gate_proj", "gate_up_proj"}:
            yield parts["down_proj"].register_forward_pre_hook(_half)
        if type(module).__name__ in ACTIVATIONS:
            yield module.register_forward_hook(lambda module, inputs, _output: activation_rule(module, inputs[0]))


def _half(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    product, *rest = inputs
    return (0.5 * product + (0.5 * product).detach(), *rest)
