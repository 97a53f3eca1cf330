"""Refuse a robust accuracy that smells of gradient masking."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender._progress import ProgressLine
from mamba_mender.stress.attacks.adaptive_attack import adaptive_attack
from mamba_mender.stress.attacks.attack import Attack
from mamba_mender.stress.attacks.attack_outcome import AttackOutcome
from mamba_mender.stress.attacks.masking_report import MaskingCheck, MaskingReport
from mamba_mender.stress.attacks.probes import has_gradient, margins, noise_margins
from mamba_mender.stress.attacks.run_attack import run_attack

SLACK = 0.02  # of the images, by which an attack may beat a stronger one by luck; one image at least
NOISE_DRAWS = 10
LONGER = 5  # times the steps, with one restart more
UNBOUNDED_STEPS, UNBOUNDED_RESTARTS, UNBOUNDED_LEFT = 50, 2, 0.05
NO_GRADIENT = 0.05  # of the images that are right
CEILING = 0.9  # of the margin that any attack takes, which the attack with more steps must take too


def masking_checks(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack | None = None,
    *,
    source: nn.Module | None = None,
    queries: int = 1000,
    batch_size: int | None = None,
    progress: bool = False,
) -> MaskingReport:
    """Check whether the accuracy that PGD leaves is the model's, or that of a gradient which leads nowhere.

    PGD is run in all ways of :func:`adaptive_attack`, and refused if

    - "one step": a single step leaves less right;
    - "black box": Square, which sees no gradient, leaves less right;
    - "transfer": images made on `source`, such as the bare model without its repair, leave less right;
    - "noise": the worst of ten random changes of the same size leaves less right;
    - "unbounded": with a budget that allows any image, more than 5 % stay right;
    - "more steps": where images stay right, five times the steps and a restart more take off less than 0.9 of the
      margin that another attack takes off;
    - "zero gradient": the loss has exactly none at more than 5 % of the images that are right.

    One attack may beat another by luck on 2 % of the images, or on one.

    Args:
        model: takes pixels in [0, 1], gives logits, (batch, classes).
        images: float pixels, (images, channels, height, width); a hundred or more tell something.
        labels: the right answers, int64, (images,).
        attack: the PGD whose result is in question; 20 steps at 8/255 if omitted.
        source: another model, for "transfer"; not checked if omitted.
        queries: of Square, for each image.
        batch_size: images attacked together; all if omitted.
        progress: show a bar when it lasts longer than two seconds.

    Returns:
        A :class:`MaskingReport`; `report.trusted` says it in a word.

    Raises:
        UserError: the attack is not "pgd" with an eps above 0, or as :func:`run_attack`.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> _ = nn.init.eye_(model[1].weight)  # the answer is the brighter of the first two pixels
        >>> images = torch.tensor([0.75, 0.25, 0.5, 0.5]).view(1, 1, 2, 2).repeat(8, 1, 1, 1)
        >>> masking_checks(model, images, torch.zeros(8).long(), queries=20).trusted
        True

    Source:
        Athalye, Carlini and Wagner, Obfuscated gradients give a false sense of security, ICML 2018;
        Carlini et al., On evaluating adversarial robustness, 2019.
    """
    attack = Attack("pgd") if attack is None else attack
    if attack.name != "pgd" or attack.eps == 0:
        raise UserError(
            f"masking_checks: the attack must be 'pgd' with an eps above 0, not {attack.label!r} at {attack.eps}; "
            "its result then stands beside the others'."
        )
    many = len(images) if batch_size is None else batch_size
    outcomes = _run_all(model, images, labels, attack, source, queries=queries, batch_size=many, progress=progress)
    noise = noise_margins(model, images, labels, attack, draws=NOISE_DRAWS, batch_size=many)
    white = outcomes["white box"]
    checks = [
        _weaker(name, words, outcomes[name].correct, white)
        for name, words in (("one step", "one step"), ("black box", "Square"), ("transfer", "another model's images"))
        if name in outcomes
    ]
    checks += [
        _weaker("noise", "random changes", noise > 0, white),
        _unbounded(outcomes["unbounded"]),
        _more_steps(model, images, labels, outcomes, noise, batch_size=many),
        _zero_gradient(model, images, labels, batch_size=many),
    ]
    return MaskingReport(tuple(checks), white, len(images))


def _run_all(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    source: nn.Module | None,
    *,
    queries: int,
    batch_size: int,
    progress: bool,
) -> dict[str, AttackOutcome]:
    """Run the attack in question and those that it is held against."""
    anywhere = 1.0 if attack.norm == "linf" else float(images[0].numel()) ** 0.5
    longer = replace(attack, steps=LONGER * attack.steps, restarts=attack.restarts + 1)
    attacks = {
        "white box": attack,
        "more steps": longer,
        "one step": replace(attack, name="fgsm", steps=1, restarts=1),
        "unbounded": replace(
            attack, eps=anywhere, steps=max(UNBOUNDED_STEPS, attack.steps), restarts=UNBOUNDED_RESTARTS
        ),
        "black box": replace(attack, name="square", steps=queries, restarts=1, bpda=False, adaptive=False),
    }
    if source is not None:
        attacks["transfer"] = replace(attack, name="transfer", adaptive=False)
    outcomes = {}
    with ProgressLine(len(attacks), label="masking", shown=progress) as line:
        for done, (name, one) in enumerate(attacks.items()):
            line.advance(done)
            if name == "transfer":
                outcomes[name] = run_attack(model, images, labels, one, source=source, batch_size=batch_size)
            elif name == "black box":
                outcomes[name] = run_attack(model, images, labels, one, batch_size=batch_size)
            else:
                outcomes[name] = adaptive_attack(model, images, labels, one, batch_size=batch_size)
    return outcomes


def _share(correct: Tensor) -> float:
    return correct.float().mean().item()


def _weaker(name: str, words: str, correct: Tensor, white: AttackOutcome) -> MaskingCheck:
    """Check that something weaker than the attack does not leave less right than it."""
    left, bound = _share(correct), _share(white.correct)
    passed = left >= bound - max(SLACK, 1.5 / len(correct))
    verb = "leaves" if words in ("one step", "Square") else "leave"
    sentence = f"{words} {verb} {left:.1%} right, {white.attack.label} {bound:.1%}"
    return MaskingCheck(name, passed, left, bound, sentence)


def _unbounded(outcome: AttackOutcome) -> MaskingCheck:
    left = _share(outcome.correct)
    sentence = f"{left:.1%} stay right when any image is allowed, where at most {UNBOUNDED_LEFT:.0%} may"
    return MaskingCheck("unbounded", left <= UNBOUNDED_LEFT, left, UNBOUNDED_LEFT, sentence)


def _more_steps(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    outcomes: dict[str, AttackOutcome],
    noise: Tensor,
    *,
    batch_size: int,
) -> MaskingCheck:
    """Check, on the images that stay right, that more steps take off as much of the margin as any attack."""
    after = {
        name: margins(model, outcome.adversarial, labels, batch_size=batch_size)
        for name, outcome in outcomes.items()
        if name != "unbounded"
    }
    before = margins(model, images, labels, batch_size=batch_size)
    longer = torch.minimum(after["white box"], after["more steps"])
    least = torch.stack([noise, *after.values()]).amin(0)
    still = outcomes["white box"].correct
    clean = before[still].sum().clamp_min(1e-12)
    taken, most = ((before - margin)[still].sum().div(clean).item() for margin in (longer, least))
    sentence = f"where answers stay right, more steps take off {taken:.1%} of the margin, the best attack {most:.1%}"
    passed = taken >= CEILING * most
    return MaskingCheck("more steps", passed, taken, most, sentence)


def _zero_gradient(model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int) -> MaskingCheck:
    right = margins(model, images, labels, batch_size=batch_size) > 0
    flat = right & ~has_gradient(model, images, labels, batch_size=batch_size)
    share = int(flat.sum()) / max(int(right.sum()), 1)
    sentence = f"the loss has no gradient at {share:.1%} of the images that are right, where {NO_GRADIENT:.0%} may"
    return MaskingCheck("zero gradient", share <= NO_GRADIENT, share, NO_GRADIENT, sentence)
