"""The rules of relevance in the layers that hybrids have beside scans: attention, MLPs, experts, activations."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS = ("SiLU", "SiLUActivation", "GELU", "GELUActivation", "ReLU", "ReLUSquaredActivation", "NewGELUActivation")
GATED = {"down_proj": ("gate_proj", "gate_up_proj"), "output_linear": ("input_linear",)}  # last map to what precedes it


def activation_rule(module: nn.Module, x: Tensor) -> Tensor:
    """Compute ``x * [f(x) / x]_c`` for an activation with f(0) = 0; at 0 the ratio is taken beside it."""
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    beside = torch.where(wide.abs() < 1e-6, 1e-6, wide)
    with torch.no_grad():
        ratio = type(module).forward(module, beside) / beside
    return (x * ratio).to(x.dtype)


def attention_hooks(model: nn.Module) -> Iterator[Any]:
    """Hook the rules to softmax attention, gated MLPs, experts and activations, found by the names of their parts.

    Attention is a module with q_proj, k_proj and v_proj: what query and key say is held constant, so that relevance
    flows through the values. A gated MLP ends in down_proj after gate_proj or gate_up_proj, or in output_linear after
    input_linear: its product gives each factor half. Experts stand beside a router, whose weights are constants.

    Yields:
        A handle that takes one hook away.
    """
    for module in model.modules():
        parts = dict(module.named_children())
        if {"q_proj", "k_proj", "v_proj"} <= parts.keys():
            for name in ("q_proj", "k_proj"):
                yield parts[name].register_forward_hook(_constant)
        for last, before in GATED.items():
            if last in parts and not parts.keys().isdisjoint(before):
                yield parts[last].register_forward_pre_hook(_half_input)
        if {"experts", "router"} <= parts.keys():
            yield parts["router"].register_forward_hook(_constant)
            if hasattr(parts["experts"], "gate_up_proj"):
                yield parts["experts"].register_forward_hook(_half_output)
        if type(module).__name__ in ACTIVATIONS:
            yield module.register_forward_hook(lambda module, inputs, _output: activation_rule(module, inputs[0]))


def _constant(_module: nn.Module, _inputs: Any, output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.detach()
    return tuple(part.detach() if isinstance(part, Tensor) else part for part in output)


def _half_output(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return _half(output)


def _half(product: Tensor) -> Tensor:
    return 0.5 * product + (0.5 * product).detach()


def _half_input(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (_half(inputs[0]), *inputs[1:])
