"""Attacks that follow the gradient, by foolbox."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from mamba_mender._check import need
from mamba_mender.stress.attacks.attack import Attack
from mamba_mender.stress.attacks.attack_view import AttackView

PGD_STRIDE = 2.5  # a run of n steps of 2.5 eps / n reaches all of the ball from anywhere in it
CW_SEARCHES, CW_STEP, CW_CONSTANT = 5, 0.1, 0.1  # of the weight of success: tenfold at first, then by halves


def gradient_attack(view: AttackView, images: Tensor, labels: Tensor, attack: Attack, *, restart: int = 0) -> Tensor:
    """Make one run of "fgsm", "pgd", "cw" or "deepfool" on a whole batch.

    PGD starts at random, but in L2 its first run starts at the image: there, a start is forgotten slowly.
    "fgsm" and "pgd" stay within eps; "cw" and "deepfool" go as far as they have to.

    Source: foolbox 3 (Rauber et al. 2017, 2020); Goodfellow et al. 2015; Madry et al. 2018; Carlini and Wagner 2017;
    Moosavi-Dezfooli et al. 2016.
    """
    foolbox = load_foolbox(where="run_attack")
    attacks = foolbox.attacks
    if attack.name == "fgsm":
        method = {"linf": attacks.LinfFastGradientAttack, "l2": attacks.L2FastGradientAttack}[attack.norm]()
    elif attack.name == "cw":
        method = attacks.L2CarliniWagnerAttack(
            binary_search_steps=CW_SEARCHES, steps=attack.steps, stepsize=CW_STEP, initial_const=CW_CONSTANT
        )
    elif attack.name == "deepfool":
        kinds = {"linf": attacks.LinfDeepFoolAttack, "l2": attacks.L2DeepFoolAttack}
        method = kinds[attack.norm](steps=attack.steps)
    else:
        kinds = {
            "linf": attacks.LinfProjectedGradientDescentAttack,
            "l2": attacks.L2ProjectedGradientDescentAttack,
        }
        method = kinds[attack.norm](
            steps=attack.steps,
            rel_stepsize=PGD_STRIDE / attack.steps,
            random_start=attack.norm == "linf" or restart > 0,
        )
    target = foolbox.PyTorchModel(view, bounds=(0, 1), device=images.device)
    criterion = foolbox.criteria.Misclassification(labels)
    if attack.name in ("cw", "deepfool"):
        return method.run(target, images, criterion).detach()
    return method.run(target, images, criterion, epsilon=attack.eps).detach()


def load_foolbox(*, where: str) -> Any:
    """Import foolbox in silence: it takes a name from where SciPy had it once, and GitPython warns if git is missing.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how to install it.
    """
    with _environment("GIT_PYTHON_REFRESH", "quiet"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Please import `gaussian_filter`", DeprecationWarning)
        return need("foolbox", extra="stress", where=where)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable that is not set, for the length of the block."""
    given = name in os.environ
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if not given:
            os.environ.pop(name, None)
