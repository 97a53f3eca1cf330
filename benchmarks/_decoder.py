"""A Mamba language model that decodes token by token, from our ops; and transformers' on the same weights."""

import importlib.util
import math
import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender.ops import causal_conv1d_update, selective_state_update
from mamba_mender.ops.linear import linear

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns that its loop is slow, which is known here
WIDTH, STATE, EPS = 4, 16, 1e-5  # taps of the convolution, states of a channel, of the norms


@dataclass(frozen=True)
class Sizes:
    """What a model is made of; the defaults are those of mamba-130m."""

    layers: int = 24
    dim: int = 768
    vocabulary: int = 50280

    @property
    def channels(self) -> int:
        return 2 * self.dim

    @property
    def rank(self) -> int:
        return math.ceil(self.dim / 16)


def draw_weights(sizes: Sizes, dtype: torch.dtype) -> dict[str, Tensor]:
    """Draw random weights under transformers' names; A, D and the step's bias as an untrained Mamba has them."""
    random = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return (2 * torch.rand(shape, generator=random) - 1) / math.sqrt(shape[-1])

    channels, dim, rank = sizes.channels, sizes.dim, sizes.rank
    weights = {"backbone.embeddings.weight": uniform(sizes.vocabulary, dim), "backbone.norm_f.weight": torch.ones(dim)}
    for i in range(sizes.layers):
        layer = {
            "norm.weight": torch.ones(dim),
            "mixer.in_proj.weight": uniform(2 * channels, dim),
            "mixer.conv1d.weight": uniform(channels, 1, WIDTH),
            "mixer.conv1d.bias": uniform(channels),
            "mixer.x_proj.weight": uniform(rank + 2 * STATE, channels),
            "mixer.dt_proj.weight": uniform(channels, rank),
            "mixer.dt_proj.bias": uniform(channels) - 4,
            "mixer.A_log": torch.arange(1.0, STATE + 1).log().repeat(channels, 1),
            "mixer.D": torch.ones(channels),
            "mixer.out_proj.weight": uniform(dim, channels),
        }
        weights |= {f"backbone.layers.{i}.{name}": tensor for name, tensor in layer.items()}
    return {name: tensor.to(dtype) for name, tensor in weights.items()}


class Decoder:
    """The model on our ops, for a batch of one; a call takes a token and returns the next one's logits."""

    def __init__(self, weights: dict[str, Tensor], sizes: Sizes) -> None:
        self.sizes = sizes
        self.embeddings = weights["backbone.embeddings.weight"]  # also the head
        self.norm = weights["backbone.norm_f.weight"]
        self.layers = [self._layer(weights, f"backbone.layers.{i}.") for i in range(sizes.layers)]
        self.states = [
            (torch.zeros(1, sizes.channels, WIDTH), torch.zeros(1, sizes.channels, STATE)) for _ in self.layers
        ]

    @staticmethod
    def _layer(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
        names = [name for name in weights if name.startswith(prefix)]
        layer = {name.removeprefix(prefix).removeprefix("mixer."): weights[name] for name in names}
        layer["conv1d.weight"] = layer["conv1d.weight"][:, 0]
        layer["A"] = -layer.pop("A_log").float().exp()
        return layer

    @torch.inference_mode()
    def __call__(self, token: int) -> Tensor:
        dtype, dim = self.embeddings.dtype, self.sizes.dim
        hidden = self.embeddings[token : token + 1].float()
        for layer, (past, state) in zip(self.layers, self.states, strict=True):
            normed = F.rms_norm(hidden, (dim,), layer["norm.weight"].float(), EPS).to(dtype)
            x, z = linear(normed, layer["in_proj.weight"]).chunk(2, dim=-1)
            x = causal_conv1d_update(x, past, layer["conv1d.weight"], layer["conv1d.bias"], "silu")
            dt, B, C = linear(x, layer["x_proj.weight"]).split([self.sizes.rank, STATE, STATE], dim=-1)
            dt, bias = linear(dt, layer["dt_proj.weight"]), layer["dt_proj.bias"]
            y = selective_state_update(state, x, dt, layer["A"], B, C, layer["D"], z, bias, dt_softplus=True)
            hidden = hidden + linear(y, layer["out_proj.weight"])
        return linear(F.rms_norm(hidden, (dim,), self.norm.float(), EPS).to(dtype), self.embeddings)

    def bytes_read(self) -> int:
        """Count the bytes of weights that one token needs: all of them, because the head is the embeddings."""
        tensors = [self.embeddings, self.norm, *(tensor for layer in self.layers for tensor in layer.values())]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class TransformersDecoder:
    """transformers' model on the same memory; a call is what its ``generate`` does for a token, without the choice."""

    def __init__(self, weights: dict[str, Tensor], sizes: Sizes) -> None:
        from transformers import MambaConfig, MambaForCausalLM

        config = MambaConfig(
            vocab_size=sizes.vocabulary, hidden_size=sizes.dim, num_hidden_layers=sizes.layers, layer_norm_epsilon=EPS
        )
        with torch.device("meta"):
            self.model: Any = MambaForCausalLM(config)
        self.model.load_state_dict(
            weights | {"lm_head.weight": weights["backbone.embeddings.weight"]}, assign=True, strict=True
        )
        self.model.tie_weights()
        self.model.eval()
        self.cache: Any = None

    @torch.inference_mode()
    def __call__(self, token: int) -> Tensor:
        done = self.model(input_ids=torch.tensor([[token]]), cache_params=self.cache, use_cache=True)
        self.cache = done.cache_params
        return done.logits[0]


def has_transformers() -> bool:
    return importlib.util.find_spec("transformers") is not None
