"""Faults in the states themselves: flipped bits, NaN, stuck channels; and how well they are found."""

from mamba_mender.stress.faults.detection_auc import detection_auc
from mamba_mender.stress.faults.fault_hits import FaultHits
from mamba_mender.stress.faults.state_fault import KINDS, StateFault, state_fault

__all__ = ["KINDS", "FaultHits", "StateFault", "detection_auc", "state_fault"]
