"""Record what flows through the blocks and scans of a model."""

from mamba_mender.taps.find_states import block_of, find_states
from mamba_mender.taps.record import record
from mamba_mender.taps.run import Run
from mamba_mender.taps.scan_record import Proof, ScanRecord
from mamba_mender.taps.state_key import DIRECTIONS, EMBEDDING, STATES, StateKey

__all__ = [
    "DIRECTIONS",
    "EMBEDDING",
    "STATES",
    "Proof",
    "Run",
    "ScanRecord",
    "StateKey",
    "block_of",
    "find_states",
    "record",
]
