"""The rules by which relevance flows through a Mamba model, as a change of its gradients."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mamba_mender.inspection.attribution.attention_rules import attention_hooks
from mamba_mender.inspection.attribution.norm_rules import norm_hooks
from mamba_mender.taps import ConvCall, ScanCall
from mamba_mender.taps.find_places import find_places
from mamba_mender.taps.record import refuse_compiled
from mamba_mender.taps.spot import Site, listen
from mamba_mender.taps.tap import RunConv, RunGate, RunScan, Tap


class RelevanceTap(Tap):
    """Run each convolution, scan and gate to the same values, with the gradients of the rules.

    It comes after the taps that edit and record, next to the model.

    Args:
        bias_weight: factor of every bias in the gradient, 1 for each sample, (batch).
    """

    order = 2

    def __init__(self, bias_weight: Tensor) -> None:
        self._bias_weight = bias_weight

    def conv(self, site: Site, call: ConvCall, run: RunConv) -> Tensor:
        linear = call.convolve(activation=False)  # what another library runs here may hide its activation
        if call.bias is not None:
            linear = linear + biased(call.bias[:, None], self._bias_weight, linear)
        return linear if call.activation is None else silu_rule(linear)

    def scan(self, site: Site, call: ScanCall, run: RunScan) -> tuple[Tensor, Tensor]:
        fixed: dict[str, Any] = {
            name: value.detach()
            for name in ("delta", "A", "B", "C", "delta_bias")
            if (value := getattr(call, name)) is not None
        }
        s, last = run(replace(call, **fixed))
        if call.heads is not None and call.z is not None and not call.gated_norm:
            s = before_gate(s, call.z)  # Mamba-2 without a norm gates on its own, where no tap is asked
        return s, last

    def gate(self, site: Site, s: Tensor, z: Tensor | None, run: RunGate) -> Tensor:
        return run(s, None) if z is None else half_rule(s * silu_rule(z))


def silu_rule(x: Tensor) -> Tensor:
    """Compute ``x * [silu(x) / x]_c``, where what is in brackets has no gradient.

    Example:
        >>> x = torch.tensor([2.0], requires_grad=True)
        >>> (x.grad_fn is None, torch.autograd.grad(silu_rule(x).sum(), x)[0] * 2 == nn.functional.silu(x.detach()) )
        (True, tensor([True]))
    """
    return x * x.detach().sigmoid()


def half_rule(product: Tensor) -> Tensor:
    """Give each factor of a product half of its relevance: ``0.5 p + 0.5 [p]_c``."""
    return 0.5 * product + (0.5 * product).detach()


def before_gate(s: Tensor, z: Tensor) -> Tensor:
    """Give s a gradient with which ``s * silu(z)``, computed elsewhere as it is, follows the rule of the gate.

    Of g, the gradient of the product, the rule gives s ``0.5 g silu(z)`` and z ``0.5 g s sigmoid(z)``; z has
    ``g s silu'(z)`` from elsewhere, and the difference is added here. Where z is 0 nothing is lost: z has no relevance.
    """
    value, gate = s.detach(), z.detach()
    slope = value * (-0.5 / torch.where(gate == 0, 1, gate) - (-gate).sigmoid())
    slope = torch.where(gate == 0, 0, slope)
    return 0.5 * s + 0.5 * value + (slope * (z - gate)).to(s.dtype)


def biased(bias: Tensor, bias_weight: Tensor, like: Tensor) -> Tensor:
    """Make a zero whose gradient by the bias weight is the relevance of a bias.

    Args:
        bias: broadcasts to one sample of like.
        bias_weight: (batch).
        like: what the bias was added to, (batch, ...).
    """
    weight = (bias_weight - bias_weight.detach()).reshape(-1, *[1] * (like.dim() - 1))
    return (bias.detach() * weight).to(like.dtype)


@contextmanager
def relevance_rules(model: nn.Module, batch: int, dtype: torch.dtype, device: torch.device) -> Iterator[Tensor]:
    r"""Change the gradients of a model to the rules of MambaLRP inside the block; values stay as they are.

    With ``[.]_c`` a constant without gradient:

    ====================================  =================================================================
    SiLU after the convolution            ``x * [silu(x) / x]_c``
    selective scan                        step, A, B and C are constants; u and D u carry the relevance
    gate                                  ``0.5 s silu(z) + 0.5 [s silu(z)]_c``, with SiLU as above
    RMSNorm                               ``x * [norm(x) / x]_c``; gated, with the rule of the gate
    LayerNorm                             ``(x - mean x) * [weight / deviation]_c + bias``
    softmax attention                     query and key are constants; values carry the relevance
    mixture of experts                    the router's weights are constants
    MLP with a gate, other activations    the rules of the gate and of SiLU
    convolution, linear maps, sums        as they are
    ====================================  =================================================================

    Args:
        model: any model that :func:`mamba_mender.taps.record` takes, not compiled.
        batch: number of samples that will run.
        dtype: of the bias weight, at least float32.
        device: where the model runs.

    Yields:
        A weight of ones, (batch), with a gradient: what a score's gradient by it is, is the relevance of the
        biases of all convolutions, linear maps and norms.

    Raises:
        ValueError: the model has no scan.
        RuntimeError: the model is compiled.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model, image = create_model("vim_micro", num_classes=2, img_size=8).eval(), torch.ones(1, 3, 8, 8)
        >>> with relevance_rules(model, 1, torch.float32, image.device):
        ...     same = model(image)
        >>> torch.allclose(same, model(image), atol=1e-5)
        True

    Source: Jafari et al., "MambaLRP" (NeurIPS 2024), section 4 and table 1; for attention and LayerNorm, Ali et al.,
    "XAI for transformers: better explanations through conservative propagation" (ICML 2022), section 4.
    """
    refuse_compiled("relevance_rules", model)
    places = find_places(model)
    if not places.sites:
        raise ValueError(f"relevance_rules: {type(model).__name__} has no scan; pass a Mamba model.")
    weight = torch.ones(batch, dtype=dtype, device=device, requires_grad=True)
    with ExitStack() as stack:
        stack.enter_context(listen(RelevanceTap(weight), places.sites.values()))
        for hooks in (_bias_hooks(model, weight), norm_hooks(model, weight), attention_hooks(model)):
            for handle in hooks:
                stack.callback(handle.remove)
        yield weight


def _bias_hooks(model: nn.Module, weight: Tensor) -> Iterator[Any]:
    """Let the biases of linear maps be counted."""

    def hook(module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor | None:
        bias = module.bias
        if not isinstance(bias, Tensor) or len(output) != len(weight):
            return None
        return output + biased(bias, weight, output)

    for module in model.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            yield module.register_forward_hook(hook, prepend=True)  # what taps see is counted
