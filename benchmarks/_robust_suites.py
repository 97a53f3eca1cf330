"""What each part of the robustness benchmark runs, on which models and on how many test images.

Clean images and noise are judged on 10,000 images; corruptions on 2,000 for each of the fifteen, read as 400 at each
of its five severities, each after a warm-up of 200, and once more from the first image on ("cold"); attacks on 500, but
AutoAttack against guarded models on 100, for want of hours; MEMO, which adapts to each image by itself, on 200. No
attack sees more than 200 images together, which is as far back as a guard looks (`SPAN`).

AutoAttack is run twice, and what both leave is reported: the standard ensemble (100 steps, 5,000 queries) through the
gradient of the model; and, since all of it through each stand-in of a guarded model would take hours, one of 20 steps
and 1,000 queries through the gradient and each stand-in in turn, which is all that what was trained with its guard is
shown. A guarded model answers an image among others: with those that are still attacked go 20 of those that are done
(`context`). The verdict is on whole batches.
"""

from dataclasses import dataclass

from _robust_models import ABLATIONS, PEERS

from mamba_mender.stress import Suite
from mamba_mender.stress.attacks import Attack
from mamba_mender.stress.faults import StateFault

NOTHING = {"noise": {}, "corruptions": ()}
EPS = 8 / 255
ADVERSARIES = (
    Attack("fgsm", eps=EPS, adaptive=True),
    Attack("pgd", eps=EPS, adaptive=True),
    Attack("transfer", eps=EPS, source="none"),
)
ENSEMBLES = (
    Attack("autoattack", eps=EPS, context=20),
    Attack("autoattack", eps=EPS, steps=20, adaptive=True, context=20),
)
ATTACKED = ("none", "guard", "trained guard")
BATCH = 200  # images at a time, but where a suite says otherwise
FAULT = StateFault("bit_flip", 0.01, state="h", block=2)


@dataclass(frozen=True)
class Part:
    """One part of the benchmark.

    suite: what is run.
    models: on which models, by the names of ``models_of``.
    """

    suite: Suite
    models: tuple[str, ...]


ALL = ("none", "guard", *PEERS)
ONCE = ("tent", "eata", "sar", "t3a", "lame")  # peers that are far from the best; run for the first seed alone
PARTS = {
    "noise": Part(Suite(**{**NOTHING, "noise": {"gaussian": (0.3,)}}, warmup=200), ALL),
    "levels": Part(Suite(**{**NOTHING, "noise": {"gaussian": (0.1, 0.2, 0.4, 0.5)}}, count_noise=1000), ALL),
    "memo": Part(Suite(**{**NOTHING, "noise": {"gaussian": (0.3,)}}, count_noise=200), ("none", "guard", "memo")),
    "corruptions": Part(Suite(noise={}, count_noise=400, count_corruption=400, warmup=200), ALL),
    "corruptions cold": Part(Suite(noise={}, count_noise=400, count_corruption=400), ALL),
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
    "attacks": Part(Suite(**NOTHING, attacks=ADVERSARIES, count_noise=500), ATTACKED),
    "cw": Part(Suite(**NOTHING, attacks=(Attack("cw"),), count_noise=500), ATTACKED),
    "autoattack": Part(Suite(**NOTHING, attacks=ENSEMBLES, count_noise=50), ("none",)),
    "autoattack guarded": Part(Suite(**NOTHING, attacks=ENSEMBLES, count_noise=100, count_attack=100), ("guard",)),
    "autoattack trained": Part(
        Suite(**NOTHING, attacks=ENSEMBLES[1:], count_noise=100, count_attack=100), ("trained guard",)
    ),
    "trained": Part(
        Suite(**{**NOTHING, "noise": {"gaussian": (0.3,)}}, warmup=200), ("none", "trained", "trained guard")
    ),
}
