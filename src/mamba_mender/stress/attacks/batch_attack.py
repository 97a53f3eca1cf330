"""Attack one batch in several ways, and put its worst together."""

from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.stress.adaptive import held
from mamba_mender.stress.attacks.attack import Attack
from mamba_mender.stress.attacks.attack_outcome import AVERAGED, AttackOutcome
from mamba_mender.stress.attacks.attack_view import AttackView
from mamba_mender.stress.attacks.budget import change, check_budget, project
from mamba_mender.stress.attacks.ensemble_attacks import auto_attack, square_attack
from mamba_mender.stress.attacks.facts import is_joint, is_random
from mamba_mender.stress.attacks.gradient_attacks import gradient_attack
from mamba_mender.stress.attacks.stand_in import SURROGATE, stand_ins, surrogate_of

UNBOUNDED = {"cw", "deepfool"}  # they look for the least change, whatever it is
EOT_SAMPLES = 8  # that an adaptive attack averages over where a model is random
GRADIENT = "gradient"  # the way through the model as it is


@dataclass(frozen=True)
class Way:
    """One way to attack: the settings, and whose gradient is followed, the model's own if None."""

    attack: Attack
    surrogate: nn.Module | None = None


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
        left: dict[str, Tensor] = {}
        with held(self.model), held(self.attacked):
            self.clean = self._judge(self.images)
            self.nearest = torch.where(self.clean, float("inf"), 0.0)
            ways = self._ways(attack) if attack.eps > 0 else {}
            ends: list[tuple[Tensor, Tensor]] = []
            for name, way in ways.items():
                began = len(self.made)
                self._attack(way)
                ends.append(self._worst(self.made[began:], self.verdicts[began:]))
                left[name] = ends[-1][1] & self.clean
            worst = self._worst([batch for batch, _ in ends], [verdict for _, verdict in ends])[0]
        with nullcontext() if learn else held(self.model):
            correct = self._judge(worst) & self.clean
        check_budget(self.images, worst, attack.norm, attack.eps, where="run_attack")
        return AttackOutcome(attack, correct, worst, self.nearest, self._figures(correct), tuple(self.notes), left)

    def _figures(self, correct: Tensor) -> dict[str, float]:
        count = len(self.labels)
        return {
            "images": float(count),
            "clean_accuracy": self.clean.double().mean().item(),
            "robust_accuracy": correct.double().mean().item(),
            "queries": self.queries / count,
            "gradients": self.gradients / count,
        }

    def _ways(self, attack: Attack) -> dict[str, Way]:
        """List what an attacker does; one who knows the model: its own gradient, its stand-ins', means if random."""
        surrogate = surrogate_of(self.attacked) if attack.bpda else None
        if not attack.adaptive:
            return {GRADIENT if surrogate is None else SURROGATE: Way(attack, surrogate)}
        ways = {GRADIENT: Way(attack)}
        ways |= {name: Way(attack, module) for name, module in stand_ins(self.attacked).items()}
        if attack.eot == 1 and is_random(self.attacked, self.images):
            averaged = replace(attack, eot=EOT_SAMPLES)
            ways |= {f"{name}{AVERAGED}": replace(way, attack=averaged) for name, way in ways.items()}
        return ways

    def _attack(self, way: Way) -> None:
        """Attack in one way; "autoattack" goes on with the images that are still right, among the others' worst."""
        attack, surrogate = way.attack, way.surrogate
        ensemble = attack.name == "autoattack"
        batch = self.images if ensemble and is_joint(self.attacked, self.images) else None
        view = AttackView(self.attacked, samples=attack.eot, surrogate=surrogate, batch=batch, context=attack.context)
        again = bool(self.made)
        with held(surrogate or nn.Identity()):
            for restart in range(attack.restarts):
                left = torch.stack([self.clean, *self.verdicts]).all(0) if ensemble else torch.ones_like(self.clean)
                if not bool(left.any()):
                    break
                torch.manual_seed(attack.seed + restart)
                made = self._together(self.made, self.verdicts)
                if batch is not None:
                    view.seen = made.clone()
                with torch.enable_grad():
                    made[left] = self._make(view, attack, left, restart=restart, again=again)
                self._take(made, attack)
        self.queries += view.queries
        self.gradients += view.gradients

    def _make(self, view: AttackView, attack: Attack, left: Tensor, *, restart: int, again: bool) -> Tensor:
        """Make adversarial images of those that are left; Square is not run again, where only gradients differ."""
        images, labels, seed = self.images[left], self.labels[left], attack.seed + restart
        if attack.name == "autoattack":
            made, notes = auto_attack(view, images, labels, attack, classes=self.classes, seed=seed, square=not again)
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

    def _worst(self, made: list[Tensor], verdicts: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Put each image's worst into one batch; where a batch that was made is worse as a whole, take that."""
        together = self._together(made, verdicts)
        batches = [(together, self._judge(together)), *zip(made, verdicts, strict=True)]
        return min(batches, key=lambda pair: int((pair[1] & self.clean).sum()))

    def _together(self, made: list[Tensor], verdicts: list[Tensor]) -> Tensor:
        """Take of each image the first that is answered wrong, or the last that was made."""
        together, fooled = (made[-1] if made else self.images).clone(), torch.zeros_like(self.clean)
        for batch, verdict in zip([self.images, *made], [self.clean, *verdicts], strict=True):
            news = ~verdict & ~fooled
            together[news] = batch[news]
            fooled |= news
        return together

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
