"""Attack one batch in several ways, and put its worst together."""

from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.stress.adaptive import held
from mamba_mender.stress.attacks.attack import Attack
from mamba_mender.stress.attacks.attack_outcome import AttackOutcome
from mamba_mender.stress.attacks.attack_view import AttackView
from mamba_mender.stress.attacks.budget import change, check_budget, project
from mamba_mender.stress.attacks.ensemble_attacks import auto_attack, square_attack
from mamba_mender.stress.attacks.facts import is_joint, is_random
from mamba_mender.stress.attacks.gradient_attacks import gradient_attack
from mamba_mender.stress.attacks.stand_in import surrogate_of

UNBOUNDED = {"cw", "deepfool"}  # they look for the least change, whatever it is
EOT_SAMPLES = 8  # that an adaptive attack averages over where a model is random


class BatchAttack:
    """The attacks on one batch so far: what was made, and how the model answered.

    Args:
        model: under attack, in evaluation mode.
        images: pixels, (images, channels, height, width).
        labels: the right answers, (images,).
        source: the model on which the images are made, or None for the model itself.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, source: nn.Module | None) -> None:
        self.model, self.images, self.labels = model, images, labels
        self.attacked = model if source is None else source
        self.made: list[Tensor] = []
        self.verdicts: list[Tensor] = []
        self.notes: dict[str, None] = {}
        self.queries = self.gradients = 0

    def run(self, attack: Attack, *, learn: bool) -> AttackOutcome:
        """Attack inside `held()` and keep the worst; judge that outside it where the model may learn."""
        with held(self.model), held(self.attacked):
            self.clean = self._judge(self.images)
            self.nearest = torch.where(self.clean, float("inf"), 0.0)
            ways = self._ways(attack) if attack.adaptive else [attack]
            for way in ways if attack.eps > 0 else []:
                self._attack(way)
            worst = self._worst()
        with nullcontext() if learn else held(self.model):
            correct = self._judge(worst) & self.clean
        check_budget(self.images, worst, attack.norm, attack.eps, where="run_attack")
        count = len(self.labels)
        figures = {
            "images": float(count),
            "clean_accuracy": self.clean.double().mean().item(),
            "robust_accuracy": correct.double().mean().item(),
            "queries": self.queries / count,
            "gradients": self.gradients / count,
        }
        return AttackOutcome(attack, correct, worst, self.nearest, figures, tuple(self.notes))

    def _ways(self, attack: Attack) -> list[Attack]:
        """List what an attacker who knows the model does: its own gradient, its stand-in's, means if it is random."""
        ways = [attack]
        if not attack.bpda and surrogate_of(self.attacked) is not None:
            ways.append(replace(attack, bpda=True))
        if attack.eot == 1 and is_random(self.attacked, self.images):
            ways += [replace(way, eot=EOT_SAMPLES) for way in ways]
        return ways

    def _attack(self, attack: Attack) -> None:
        surrogate = surrogate_of(self.attacked) if attack.bpda else None
        alone = attack.name != "autoattack" or not is_joint(self.attacked, self.images)
        batch = None if alone else self.images
        view = AttackView(self.attacked, samples=attack.eot, surrogate=surrogate, batch=batch, context=attack.context)
        with held(surrogate or nn.Identity()):
            for restart in range(attack.restarts):
                torch.manual_seed(attack.seed + restart)
                with torch.enable_grad():
                    made = self._make(view, attack, restart)
                self._take(made, attack)
        self.queries += view.queries
        self.gradients += view.gradients

    def _make(self, view: AttackView, attack: Attack, restart: int) -> Tensor:
        images, labels, seed = self.images.clone(), self.labels.clone(), attack.seed + restart
        if attack.name == "autoattack":
            made, notes = auto_attack(view, images, labels, attack, classes=self.classes, seed=seed)
            self.notes |= dict.fromkeys(notes)
            return made
        if attack.name == "square":
            return square_attack(view, images, labels, attack, seed=seed)
        return gradient_attack(view, images, labels, attack, restart=restart)

    def _take(self, made: Tensor, attack: Attack) -> None:
        """Judge what one run made, within the budget."""
        if attack.name in UNBOUNDED:
            self._measure(made, self._judge(made), attack)
        else:
            check_budget(self.images, made, attack.norm, attack.eps, where=f"run_attack ({attack.label})")
        made = project(self.images, made, attack.norm, attack.eps)
        verdict = self._judge(made)
        self._measure(made, verdict, attack)
        self.made.append(made)
        self.verdicts.append(verdict)

    def _measure(self, made: Tensor, verdict: Tensor, attack: Attack) -> None:
        found = change(self.images, made, attack.norm).masked_fill(verdict, float("inf"))
        self.nearest = torch.minimum(self.nearest, found)

    def _worst(self) -> Tensor:
        """Put each image's worst into one batch; where a batch that was made is worse as a whole, take that."""
        if not self.made:
            return self.images.clone()
        together, fooled = self.made[-1].clone(), torch.zeros_like(self.clean)
        for made, verdict in zip([self.images, *self.made], [self.clean, *self.verdicts], strict=True):
            news = ~verdict & ~fooled
            together[news] = made[news]
            fooled |= news
        batches = [together, *self.made]
        left = [int((verdict & self.clean).sum()) for verdict in [self._judge(together), *self.verdicts]]
        return batches[left.index(min(left))]

    def _judge(self, images: Tensor) -> Tensor:
        """Say which answers of the model are right, bool, (images,); logits that are not finite are wrong."""
        with torch.no_grad():
            logits = self.model(images)
        self._check_logits(logits)
        self.classes = logits.shape[-1]
        return (logits.argmax(-1) == self.labels) & logits.isfinite().all(-1)

    def _check_logits(self, logits: Tensor) -> None:
        if logits.ndim != 2 or len(logits) != len(self.labels) or logits.shape[1] < 2:
            raise UserError(
                "run_attack: the model must give logits, (images, classes), of at least two classes; "
                f"for {len(self.labels)} images it gives shape {tuple(logits.shape)}."
            )
        if (largest := int(self.labels.max())) >= logits.shape[1]:
            raise UserError(
                f"run_attack: the labels go up to {largest}, but the model has {logits.shape[1]} classes; "
                "pass the images that it was trained for."
            )
