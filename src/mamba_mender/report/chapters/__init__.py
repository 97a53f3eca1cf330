"""The sections of an inspection's page, in order."""

from mamba_mender.report.chapters.attention import ATTENTION
from mamba_mender.report.chapters.attribution import ATTRIBUTION
from mamba_mender.report.chapters.causality import CAUSALITY
from mamba_mender.report.chapters.depth import DEPTH
from mamba_mender.report.chapters.exhibit import ACROSS, Chapter, Exhibit
from mamba_mender.report.chapters.memory import MEMORY, RECORDS
from mamba_mender.report.chapters.relations import ACROSS_INPUTS, RELATIONS
from mamba_mender.report.chapters.tokens import TOKENS

CHAPTERS: tuple[Chapter, ...] = (
    RECORDS,
    MEMORY,
    ATTENTION,
    ATTRIBUTION,
    DEPTH,
    TOKENS,
    RELATIONS,
    ACROSS_INPUTS,
    CAUSALITY,
)

__all__ = ["ACROSS", "CHAPTERS", "Chapter", "Exhibit"]
