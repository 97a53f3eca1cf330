"""Which tokens each token of one input draws from: hidden attention of scans and blocks, and rollout."""

from typing import Any

from mamba_mender.inspection.attention import (
    attention_rollout,
    attention_row_sums,
    attention_rows,
    attention_spread,
    attention_top_k,
    hidden_attention,
)
from mamba_mender.inspection.dynamics.positions import spread_positions
from mamba_mender.inspection.study.sample import Sample
from mamba_mender.taps import ScanRecord

LONGEST = 512  # tokens up to which the whole matrix is kept; of longer inputs, rows of it
ROWS = 64
TOP = 10


def describe_attention(sample: Sample) -> dict[str, Any]:
    """Read the hidden attention of every layer of an input, averaged over channels, directions summed.

    Returns:
        For each layer, as in "layer 3/map": "map" of the scan, "block" with convolution, gate and skip, "spread"
        (entropy and strength), "row_sums", "top" (what the target token takes most from); and of all layers
        looked at "rollout" and "block_rollout" of the target token.
    """
    found: dict[str, Any] = {}
    for layer in sample.layers:
        found |= {f"layer {layer}/{kind}": result for kind, result in _of_layer(sample, layer).items()}
    found["rollout"] = attention_rollout(sample.in_order, sample.position)
    if sample.convolved:
        found["block_rollout"] = attention_rollout(sample.in_order, sample.position, of="block")
    return found


def _of_layer(sample: Sample, layer: int) -> dict[str, Any]:
    scans: list[ScanRecord] = sample.of_layer(layer)
    length = scans[0].length
    rows = spread_positions(length, length if length <= LONGEST else ROWS)
    found = {
        "map": hidden_attention(scans) if length <= LONGEST else attention_rows(scans, rows),
        "spread": attention_spread(scans, rows),
        "row_sums": attention_row_sums(scans),
        "top": attention_top_k(scans, [sample.position], min(TOP, length)),
    }
    if sample.convolved:
        of_block = hidden_attention(scans, of="block") if length <= LONGEST else None
        found["block"] = attention_rows(scans, rows, of="block") if of_block is None else of_block
    return found
