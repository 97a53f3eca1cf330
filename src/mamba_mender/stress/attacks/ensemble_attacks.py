"""AutoAttack and Square, by pyautoattack."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from mamba_mender._check import UserError, need
from mamba_mender.stress.attacks.attack import Attack
from mamba_mender.stress.attacks.attack_view import AttackView

NORM_NAMES = {"linf": "Linf", "l2": "L2"}
MOST_TARGETS = 9  # of the targeted parts, in the standard ensemble
QUERIES = 50  # of Square, for each step of the other parts: 5000 at 100
LEAST_SIDE = 5  # pixels, of Square's tiles in L2


def auto_attack(
    view: AttackView,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    classes: int,
    seed: int,
    square: bool = True,
) -> tuple[Tensor, tuple[str, ...]]:
    """Run the standard ensemble: APGD-CE, APGD-T, FAB-T, Square, each on what the ones before left right.

    The targeted loss of APGD-T needs four classes: with three it is APGD-DLR, with two that is left out too. Without
    `square` the parts that follow gradients are run alone.

    Returns:
        Adversarial images, the image itself where none was found, and what the library warns of.

    Source: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks, ICML 2020.
    """
    library = need("pyautoattack", extra="stress", where="run_attack")
    parts = ["apgd-ce", *{2: [], 3: ["apgd-dlr"]}.get(classes, ["apgd-t"]), "fab-t", *(["square"] if square else [])]
    norm = NORM_NAMES[attack.norm]
    with _warnings_kept("auto-attack") as notes, _trace_kept():
        ensemble = library.AutoAttack(
            view, attacks=parts, version="custom", norm=norm, eps=attack.eps, seed=seed, device=images.device
        )
        for part in (ensemble.apgd, ensemble.apgd_targeted):
            part.n_restarts = 1
            part.n_iter = part.n_iter_orig = attack.steps
            part.n_iter_2, part.n_iter_min, part.size_decr = (  # the paper's checkpoints
                max(int(share * attack.steps), 1) for share in (0.22, 0.06, 0.03)
            )
        ensemble.fab.n_restarts, ensemble.fab.n_iter = 1, attack.steps
        ensemble.square.n_queries = QUERIES * attack.steps
        ensemble.apgd_targeted.n_target_classes = ensemble.fab.n_target_classes = min(MOST_TARGETS, classes - 1)
        adversarial, _ = ensemble.run_standard_evaluation(images, labels, batch_size=len(images))
    if "apgd-t" not in parts:
        notes = [note for note in notes if "possible to use the" not in note]  # said of the loss that was left out
    return adversarial.detach(), tuple(notes)


def square_attack(view: AttackView, images: Tensor, labels: Tensor, attack: Attack, *, seed: int) -> Tensor:
    """Run Square with as many queries as the attack has steps; where nothing is found, the nearest it came.

    Source: Andriushchenko et al., Square Attack, ECCV 2020.
    """
    library = need("pyautoattack.square", extra="stress", where="run_attack")
    method = library.SquareAttack(
        view,
        norm=NORM_NAMES[attack.norm],
        n_queries=attack.steps,
        eps=attack.eps,
        seed=seed,
        device=images.device,
        resc_schedule=True,
    )
    method.init_hyperparam(images)
    return method.attack_single_run(images, labels)[1].detach()


def check_sides(images: Tensor, attack: Attack) -> None:
    """Refuse images that Square's tiles do not fit into.

    Raises:
        UserError: the attack runs Square in L2, and a side is below 5 pixels.
    """
    if attack.name in ("autoattack", "square") and attack.norm == "l2" and min(images.shape[-2:]) < LEAST_SIDE:
        raise UserError(
            f"run_attack: {attack.name!r} in L2 needs images of at least {LEAST_SIDE} x {LEAST_SIDE} pixels, "
            f"got shape {tuple(images.shape)}; take 'pgd' or 'linf'."
        )


@contextmanager
def _warnings_kept(name: str) -> Iterator[list[str]]:
    """Collect what a logger warns of, in place of printing it."""
    logger, notes = logging.getLogger(name), []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: notes.append(record.getMessage())
    handed_on = logger.propagate
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield notes
    finally:
        logger.removeHandler(handler)
        logger.propagate = handed_on


@contextmanager
def _trace_kept() -> Iterator[None]:
    """Put back the trace function of a debugger or of coverage, which AutoAttack's check takes away."""
    trace = sys.gettrace()
    try:
        yield
    finally:
        sys.settrace(trace)
