"""Record what flows through the blocks and scans of a model."""

from mamba_mender.taps.accelerate import accelerate_model, restore_model
from mamba_mender.taps.conv_call import ConvCall
from mamba_mender.taps.edit import NODES, Edit, edit
from mamba_mender.taps.find_states import find_states
from mamba_mender.taps.record import record
from mamba_mender.taps.run import Run
from mamba_mender.taps.scan_call import ScanCall
from mamba_mender.taps.scan_record import Proof, ScanRecord, derived
from mamba_mender.taps.state_key import DIRECTIONS, EMBEDDING, STATES, StateKey, block_of
from mamba_mender.taps.tap import Tap

__all__ = [
    "DIRECTIONS",
    "EMBEDDING",
    "NODES",
    "STATES",
    "ConvCall",
    "Edit",
    "Proof",
    "Run",
    "ScanCall",
    "ScanRecord",
    "StateKey",
    "Tap",
    "accelerate_model",
    "block_of",
    "derived",
    "edit",
    "find_states",
    "record",
    "restore_model",
]
