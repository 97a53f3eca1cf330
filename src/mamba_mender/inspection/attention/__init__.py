"""Hidden attention: what a scan, or its whole block, does to a sequence, seen as a matrix between positions."""

from mamba_mender.inspection.attention.attention_columns import attention_columns
from mamba_mender.inspection.attention.attention_product import attention_product
from mamba_mender.inspection.attention.attention_rollout import AttentionRollout, attention_rollout
from mamba_mender.inspection.attention.attention_row_sums import attention_row_sums
from mamba_mender.inspection.attention.attention_rows import attention_rows
from mamba_mender.inspection.attention.attention_spread import AttentionSpread, attention_spread
from mamba_mender.inspection.attention.attention_top_k import TopAttention, attention_top_k
from mamba_mender.inspection.attention.block_offset import block_offset
from mamba_mender.inspection.attention.blockwise_scans import BlockwiseScans
from mamba_mender.inspection.attention.hidden_attention import HiddenAttention, hidden_attention
from mamba_mender.inspection.attention.initial_state_output import initial_state_output
from mamba_mender.inspection.attention.patch_map import patch_map

__all__ = [
    "AttentionRollout",
    "AttentionSpread",
    "BlockwiseScans",
    "HiddenAttention",
    "TopAttention",
    "attention_columns",
    "attention_product",
    "attention_rollout",
    "attention_row_sums",
    "attention_rows",
    "attention_spread",
    "attention_top_k",
    "block_offset",
    "hidden_attention",
    "initial_state_output",
    "patch_map",
]
