"""What each part of the robustness benchmark runs, on which models and on how many test images."""

from dataclasses import dataclass

from _robust_models import ABLATIONS, PEERS

from mamba_mender.stress import Suite
from mamba_mender.stress.attacks import Attack
from mamba_mender.stress.faults import StateFault

NOTHING = {"noise": {}, "corruptions": ()}
EPS = 8 / 255
ADVERSARIES = (
    Attack("fgsm", eps=EPS),
    Attack("pgd", eps=EPS, adaptive=True),
    Attack("transfer", eps=EPS, source="none"),
    Attack("cw"),
)
FAULT = StateFault("bit_flip", 0.01, state="h", block=2)


@dataclass(frozen=True)
class Part:
    """One part of the benchmark.

    suite: what is run.
    models: on which models, by the names of ``models_of``.
    batch_size: images at a time.
    first: models that are run for the first seed alone.
    """

    suite: Suite
    models: tuple[str, ...]
    batch_size: int = 200
    first: tuple[str, ...] = ()


ALL = ("none", "guard", "median_filter", "norm_statistics")
REST = tuple(peer for peer in PEERS if peer not in ALL)
PARTS = {
    "noise": Part(Suite(**{**NOTHING, "noise": {"gaussian": (0.3,)}}, warmup=200), ALL, first=REST),
    "levels": Part(
        Suite(**{**NOTHING, "noise": {"gaussian": (0.1, 0.2, 0.4, 0.5)}}, count_noise=1000), ALL, first=REST
    ),
    "memo": Part(Suite(**{**NOTHING, "noise": {"gaussian": (0.3,)}}, count_noise=200), ("none", "guard", "memo")),
    "corruptions": Part(Suite(noise={}, count_noise=400, count_corruption=400), ALL, first=REST),
    "streams": Part(
        Suite(
            **NOTHING, orders=("label-sorted", "drifting"), batch_sizes=(1, 4, 200), count_noise=200, count_stream=4000
        ),
        ("none", "guard"),
    ),
    "faults": Part(Suite(**NOTHING, faults=(FAULT,), count_noise=2000), ("none", "guard")),
    "ablation": Part(
        Suite(
            **NOTHING,
            orders=("label-sorted", "drifting"),
            batch_sizes=(4, 200),
            stream_noise=(0.3,),
            count_noise=200,
            count_stream=2000,
        ),
        ("guard", *(f"guard without {name}" for name in ABLATIONS)),
    ),
    "attacks": Part(
        Suite(**NOTHING, attacks=ADVERSARIES, count_noise=500, limits={"cw": 100}),
        ("none", "guard", "trained guard"),
        250,
    ),
    "autoattack": Part(
        Suite(**NOTHING, attacks=(Attack("autoattack", eps=EPS, context=50),), count_noise=500),
        ("none", "guard", "trained guard"),
        250,
    ),
    "trained": Part(Suite(**{**NOTHING, "noise": {"gaussian": (0.3,)}}, warmup=200), ("trained", "trained guard")),
}
