"""What a scan's state does over time: its values, memory, reach and rank."""

from mamba_mender.inspection.dynamics.contribution import Contribution, contribution
from mamba_mender.inspection.dynamics.delta_statistics import DeltaStatistics, delta_statistics
from mamba_mender.inspection.dynamics.discretise import Discretised, discretise
from mamba_mender.inspection.dynamics.gramians import Gramians, gramians
from mamba_mender.inspection.dynamics.half_life import HalfLife, half_life
from mamba_mender.inspection.dynamics.memory_horizon import MemoryHorizon, memory_horizon
from mamba_mender.inspection.dynamics.memory_radius import MemoryRadius, memory_radius
from mamba_mender.inspection.dynamics.projections import Projection, Projections, projections
from mamba_mender.inspection.dynamics.rank import effective_rank, participation_ratio
from mamba_mender.inspection.dynamics.skip_share import SkipShare, skip_share
from mamba_mender.inspection.dynamics.state_statistics import StateStatistics, state_statistics
from mamba_mender.inspection.dynamics.states_at import StatesAt, states_at
from mamba_mender.inspection.dynamics.transition_spectrum import TransitionSpectrum, transition_spectrum

__all__ = [
    "Contribution",
    "DeltaStatistics",
    "Discretised",
    "Gramians",
    "HalfLife",
    "MemoryHorizon",
    "MemoryRadius",
    "Projection",
    "Projections",
    "SkipShare",
    "StateStatistics",
    "StatesAt",
    "TransitionSpectrum",
    "contribution",
    "delta_statistics",
    "discretise",
    "effective_rank",
    "gramians",
    "half_life",
    "memory_horizon",
    "memory_radius",
    "participation_ratio",
    "projections",
    "skip_share",
    "state_statistics",
    "states_at",
    "transition_spectrum",
]
