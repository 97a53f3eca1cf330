"""The rules of relevance at norms."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

NORMS = ("RMSNorm", "RMSNormGated", "LayerNorm")


def scale_rule(x: Tensor, output: Tensor) -> Tensor:
    """Compute ``x * [output / x]_c`` in float32 at least, in output's dtype; where x is 0, 0.

    Example:
        >>> scale_rule(torch.tensor([2.0, 0.0]), torch.tensor([6.0, 0.0]))
        tensor([6., 0.])
    """
    wide = torch.promote_types(torch.promote_types(x.dtype, output.dtype), torch.float32)
    values = x.detach().to(wide)
    scale = torch.where(values == 0, 0, output.detach().to(wide) / torch.where(values == 0, 1, values))
    return (x.to(wide) * scale).to(output.dtype)


def layer_norm_rule(norm: nn.LayerNorm, x: Tensor, bias_weight: Tensor) -> Tensor:
    """Compute ``(x - mean x) * [weight / sqrt(var x + eps)]_c + bias``; the bias counts for the bias weight."""
    axes = tuple(range(-len(norm.normalized_shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    scale = torch.rsqrt(centred.detach().square().mean(axes, keepdim=True) + norm.eps)
    out = centred * (scale if norm.weight is None else scale * norm.weight.detach())
    if norm.bias is None:
        return out
    weight = (bias_weight - bias_weight.detach()).reshape(-1, *[1] * (x.dim() - 1))
    return out + (norm.bias * (1 + weight)).to(out.dtype)


def norm_hooks(model: nn.Module, bias_weight: Tensor) -> Iterator[Any]:
    """Hook the rules to every norm of a model, by the end of its class name.

    Args:
        model: the model.
        bias_weight: factor of the biases in the gradient, (batch).

    Yields:
        A handle that takes one hook away.
    """

    def hook(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Tensor) -> Tensor:
        x = args[0] if args else next(iter(kwargs.values()))
        gate = args[1] if len(args) > 1 else kwargs.get("gate")
        if isinstance(module, nn.LayerNorm):
            return layer_norm_rule(module, x, bias_weight)
        if gate is None:
            return scale_rule(x, output)
        gated = x * (gate * gate.detach().sigmoid())
        return scale_rule(0.5 * gated + (0.5 * gated).detach(), output)

    for module in model.modules():
        if type(module).__name__.endswith(NORMS):
            yield module.register_forward_hook(hook, with_kwargs=True)
