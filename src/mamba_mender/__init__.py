"""Build, see inside, stress and mend selective state-space (Mamba) models."""

__version__ = "0.1.0"
