"""The residual stream and the attention of a transformer, taken where those of a Mamba are."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class TransformerRun:
    """What one forward pass of a transformer left behind.

    states: the embedding and the output of each layer, before any final norm, each (batch, tokens, channels).
    attentions: of each layer, (batch, heads, tokens, tokens).
    """

    states: list[Tensor]
    attentions: list[Tensor]


@torch.no_grad()
def transformer_run(model: nn.Module, inputs: Tensor, *, mask: Tensor | None = None) -> TransformerRun:
    """Run a causal transformer of transformers, and keep its residual stream and attention.

    The last of transformers' own ``hidden_states`` is normalised and not the output of the last layer, so that
    layers' outputs are read where they leave the layers.

    Args:
        model: e.g. GPT2LMHeadModel or LlamaForCausalLM, made with ``attn_implementation="eager"``.
        inputs: token numbers, (batch, tokens).
        mask: True at real tokens, (batch, tokens); None where nothing is padded.

    Returns:
        The states and attentions.

    Raises:
        ValueError: the model has no list of layers, or returns no attention.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> config = GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=9, attn_implementation="eager")
        >>> run = transformer_run(GPT2LMHeadModel(config).eval(), torch.tensor([[1, 2, 3]]))
        >>> len(run.states), run.attentions[0].shape
        (3, torch.Size([1, 2, 3, 3]))
    """
    states: list[Tensor] = []
    layers = _layers(model)

    def enter(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        states.append(args[0] if args else kwargs["hidden_states"])

    def leave(_module: nn.Module, _args: tuple, output: Any) -> None:
        states.append(output if isinstance(output, Tensor) else output[0])

    hooks = [layers[0].register_forward_pre_hook(enter, with_kwargs=True)]
    hooks += [layer.register_forward_hook(leave) for layer in layers]
    given = {} if mask is None else {"attention_mask": mask.long()}
    try:
        out = model(inputs, output_attentions=True, use_cache=False, **given)
    finally:
        for hook in hooks:
            hook.remove()
    attentions = [matrix for matrix in out.attentions or () if isinstance(matrix, Tensor)]
    if len(attentions) != len(layers):
        raise ValueError(
            f"transformer_run: {type(model).__name__} returned the attention of {len(attentions)} of {len(layers)} "
            'layers; make it with attn_implementation="eager", and take a model whose every layer has attention.'
        )
    return TransformerRun(states, attentions)


def _layers(model: nn.Module) -> list[nn.Module]:
    """Find the outermost list of as many layers as the configuration says."""
    count = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return list(module)
    raise ValueError(
        f"transformer_run: {type(model).__name__} has no list of config.num_hidden_layers={count} layers; give a "
        "causal language model of transformers."
    )
