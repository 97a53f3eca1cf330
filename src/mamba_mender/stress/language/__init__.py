"""Stress for language models: noise in characters, lost tokens, and contexts longer than those of training."""

from mamba_mender.stress.language.character_noise import character_noise
from mamba_mender.stress.language.language_stress import LanguageCell, LanguageStress
from mamba_mender.stress.language.long_context_drift import LongContextDrift, long_context_drift
from mamba_mender.stress.language.stress_language import stress_language
from mamba_mender.stress.language.token_dropout import token_dropout

__all__ = [
    "LanguageCell",
    "LanguageStress",
    "LongContextDrift",
    "character_noise",
    "long_context_drift",
    "stress_language",
    "token_dropout",
]
