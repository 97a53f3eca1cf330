"""What the states say: correlation with the prediction, scores, easy and hard samples, diagnosis."""

from mamba_mender.inspection.binarise import binarise, min_max
from mamba_mender.inspection.correlation_target import Target, correlation_target
from mamba_mender.inspection.diagnose import diagnose
from mamba_mender.inspection.diagnosis import Curve, Diagnosis, SampleGroup
from mamba_mender.inspection.diagnosis_files import load_diagnosis, save_diagnosis
from mamba_mender.inspection.external_correlation import external_correlation
from mamba_mender.inspection.external_score import ExternalScore, Space, external_score, resize_map
from mamba_mender.inspection.internal_correlation import internal_correlation
from mamba_mender.inspection.internal_score import InternalScore, internal_score
from mamba_mender.inspection.samples import Samples, select_samples
from mamba_mender.inspection.sign import Sign
from mamba_mender.inspection.sweep import THRESHOLDS, sweep_alpha, sweep_beta

__all__ = [
    "THRESHOLDS",
    "Curve",
    "Diagnosis",
    "ExternalScore",
    "InternalScore",
    "SampleGroup",
    "Samples",
    "Sign",
    "Space",
    "Target",
    "binarise",
    "correlation_target",
    "diagnose",
    "external_correlation",
    "external_score",
    "internal_correlation",
    "internal_score",
    "load_diagnosis",
    "min_max",
    "resize_map",
    "save_diagnosis",
    "select_samples",
    "sweep_alpha",
    "sweep_beta",
]
