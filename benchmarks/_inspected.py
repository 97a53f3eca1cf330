"""The ways to inspect a Mamba: ours, the definition written out in torch, and TransformerLens."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mamba_mender.inspection.attention import BlockwiseScans, attention_rollout, attention_rows, hidden_attention
from mamba_mender.inspection.dynamics import states_at
from mamba_mender.taps import ScanRecord, accelerate_model, record

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns that its loop is slow, which is known here
OURS, DEFINITION, LENS = "ours", "definition", "TransformerLens"
WAYS = (OURS, DEFINITION, LENS)
QUANTITIES = {
    "states": "the state after 16 positions, one layer",
    "row": "the last row of the attention, averaged over channels, one layer",
    "matrix": "the whole attention, averaged over channels, one layer",
    "rollout": "the rollout of the last token through all layers, forward pass included",
}
KEPT_EVERY = 2  # blocks of which the rollout keeps the input


@dataclass(frozen=True)
class Sizes:
    """What a model is made of; the defaults are those of mamba-130m."""

    layers: int = 24
    dim: int = 768
    vocabulary: int = 50280
    state: int = 16

    @property
    def channels(self) -> int:
        return 2 * self.dim


def language_model(sizes: Sizes, layers: int, vocabulary: int) -> Any:
    """Build transformers' model on random weights."""
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    sized = {"vocab_size": vocabulary, "hidden_size": sizes.dim, "num_hidden_layers": layers, "state_size": sizes.state}
    # The default range of 0.1 makes a model that multiplies rounding from layer to layer: in float32 it is right to
    # 5e-4 only, whoever computes it.
    config = MambaConfig(**sized, use_cache=False, initializer_range=0.02)
    return MambaForCausalLM(config).eval()


def tokens(length: int, vocabulary: int) -> Tensor:
    return torch.randint(0, vocabulary, (1, length), generator=torch.Generator().manual_seed(0))


def not_run(quantity: str, way: str, length: int, sizes: Sizes) -> str | None:
    """Say why a way is not run at a length; None if it is."""
    numbers = sizes.channels * sizes.state * length**2
    if way == LENS and importlib.util.find_spec("transformer_lens") is None:
        return "not installed"
    if way == LENS and 5 * 4 * numbers > 12e9:  # that many such tensors are alive at a time
        return f"does not fit: each of its tensors of channels x state x length x length has {4 * numbers / 1e9:.1f} GB"
    layers = sizes.layers if quantity == "rollout" else 1
    exponentials = layers * numbers
    if way == DEFINITION and quantity in ("matrix", "rollout") and exponentials > 7e9:
        return f"not run: {exponentials / 1e9:.0f} billion exponentials"
    if way == OURS and quantity == "matrix" and length > 2048:
        return f"not run: {numbers / 1e9:.0f} billion multiply-adds; rows and rollout do without the matrix"
    return None


def prepare(quantity: str, way: str, length: int, sizes: Sizes) -> Callable[[], Tensor]:
    """Build the model and what a way starts from; the call that is returned is what is measured."""
    layers = sizes.layers if quantity == "rollout" else 1
    model = language_model(sizes, layers, 100)
    ids = tokens(length, 100)
    if way == LENS:
        return _by_lens(quantity, model, ids)
    accelerate_model(model)
    if quantity == "rollout":
        return _our_rollout(model, ids) if way == OURS else lambda: dense_rollout(_matrices(model, ids))
    with torch.no_grad(), record(model, "", prove=False) as run:
        model(ids)
    (scan,) = run.scans.values()
    return (_ours if way == OURS else _by_definition)(quantity, scan)


def forward_pass(length: int, sizes: Sizes) -> Callable[[], Tensor]:
    """Make a forward pass of the accelerated model, without its head: what the rollout is measured in."""
    model = language_model(sizes, sizes.layers, 100)
    accelerate_model(model)
    ids = tokens(length, 100)
    return torch.no_grad()(lambda: model.backbone(ids).last_hidden_state)


def _positions(length: int) -> list[int]:
    return [(i + 1) * length // 16 - 1 for i in range(16)] if length >= 16 else [length - 1]


def _ours(quantity: str, scan: ScanRecord) -> Callable[[], Tensor]:
    def call() -> Tensor:
        scan._derived.clear()  # a second measurement computes it again
        if quantity == "states":
            return states_at(scan, _positions(scan.length)).h
        if quantity == "row":
            return attention_rows(scan, [-1]).values[:, 0]
        return hidden_attention(scan).values

    return call


def _our_rollout(model: Any, ids: Tensor) -> Callable[[], Tensor]:
    def call() -> Tensor:
        with torch.no_grad():
            hidden = model.backbone.embeddings(ids)
        scans = BlockwiseScans(model.backbone.layers, hidden, every=KEPT_EVERY, prove=False)
        return attention_rollout(scans).values

    return call


def _by_definition(quantity: str, scan: ScanRecord) -> Callable[[], Tensor]:
    """Write it as the formula says: a loop over tokens, or all exponentials at once."""

    def states() -> Tensor:
        step, h, kept = scan.step, torch.zeros_like(scan.last_state), []
        wanted = set(_positions(scan.length))
        for t in range(scan.length):
            dt = step[..., t, None]
            h = torch.exp(dt * scan.A) * h + dt * scan.u[..., t, None] * scan.B[:, 0, None, :, t]
            if t in wanted:
                kept.append(h)
        return torch.stack(kept, 1)

    def row() -> Tensor:
        passed = scan.step.double().cumsum(-1)
        passed = (passed[..., -1:] - passed).float()
        decay = torch.exp(scan.A[:, :, None] * passed[:, :, None])  # (1, channels, state, length)
        return (torch.einsum("bn,bdnj,bnj->bdj", scan.C[:, 0, :, -1], decay, scan.B[:, 0]) * scan.step).mean(1)

    calls = {"states": states, "row": row, "matrix": lambda: definition(scan)}
    return torch.no_grad()(calls[quantity])


def definition(scan: ScanRecord) -> Tensor:
    """Write alpha out, a channel at a time, averaged over channels, (1, length, length)."""
    step = scan.step.double()
    passed = step.cumsum(-1)
    C, B = scan.C[0, 0], scan.B[0, 0]
    total = torch.zeros(scan.length, scan.length)
    for d in range(scan.channels):
        sums = (passed[0, d, :, None] - passed[0, d, None]).clamp_min(0).float()
        decay = torch.exp(scan.A[d, :, None, None] * sums)  # (state, length, length)
        total += torch.einsum("ni,nij,nj->ij", C, decay, B * step[0, d].float()).tril()
    return total[None] / scan.channels


@torch.no_grad()
def _matrices(model: Any, ids: Tensor) -> list[Tensor]:
    with record(model, "", prove=False) as run:
        model.backbone(ids)
    return [definition(scan) for scan in run.scans.values()]


def dense_rollout(matrices: list[Tensor]) -> Tensor:
    """Multiply normalised matrices, the last one's last row first."""
    eye = torch.eye(matrices[0].shape[-1])
    row = eye[-1:]
    for matrix in reversed(matrices):
        mixed = eye + matrix[0]
        row = row @ (mixed / mixed.sum(-1, keepdim=True))
    return row


def _by_lens(quantity: str, model: Any, ids: Tensor) -> Callable[[], Tensor]:
    """Use TransformerLens as its documentation says, with the scan that makes its hooks fire."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    bridge = build_bridge_from_module(model, "MambaForCausalLM", hf_config=model.config)
    for block in bridge.blocks:
        block.mixer.eager_scan = True

    def run() -> Any:
        with torch.no_grad():
            return bridge.run_with_cache(ids, use_cache=False)[1]

    def attention(cache: Any, layer: int) -> Tensor:
        with torch.no_grad():
            return cache.compute_ssm_effective_attention(layer=layer, include_dt_scaling=True).mean(1)

    if quantity == "rollout":

        def rollout() -> Tensor:
            cache = run()
            return dense_rollout([attention(cache, layer) for layer in range(len(bridge.blocks))])

        return rollout
    cache = run()
    if quantity == "states":  # the whole trajectory is computed even for one position
        return torch.no_grad()(lambda: cache.compute_ssm_state(layer=0).transpose(1, 2)[:, _positions(ids.shape[1])])
    return (lambda: attention(cache, 0)[:, -1]) if quantity == "row" else (lambda: attention(cache, 0))
