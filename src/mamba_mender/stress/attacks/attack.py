"""What an attack is: its name, its budget, and how hard it tries."""

from dataclasses import dataclass
from typing import Any

from mamba_mender._check import UserError, nearest

STEPS = {"fgsm": 1, "pgd": 20, "transfer": 20, "cw": 100, "deepfool": 50, "autoattack": 100, "square": 1000}
NORMS = {"linf": 8 / 255, "l2": 0.5}  # and the budget where none is given
REPEATABLE = {"pgd", "transfer", "autoattack", "square"}  # the others begin at the image itself: no two runs differ
CHOSEN: Any = None  # by the attack's name


@dataclass(frozen=True)
class Attack:
    """How adversarial images are looked for.

    name: one of

        - "fgsm": one step along the sign (L2: the direction) of the gradient;
        - "pgd": many such steps from a random start (L2: first from the image), each projected onto the budget;
        - "cw": Carlini and Wagner's least change in L2; judged at eps too;
        - "deepfool": the nearest boundary of the linearised model; judged at eps too;
        - "autoattack": APGD-CE, APGD-T, FAB-T and Square, the standard ensemble;
        - "transfer": "pgd" on another model;
        - "square": random squares, which ask for logits and never for gradients.

    norm: of the change, "linf" (the largest of all pixels) or "l2" (over all pixels); of itself "l2" for "cw",
        else "linf".
    eps: the largest change, in pixels of [0, 1]; of itself 8/255 in "linf", 0.5 in "l2".
    steps: gradient steps ("square": queries; "autoattack": steps of each part, with 50 queries for each);
        of itself 1 for "fgsm", 20 for "pgd" and "transfer", 100 for "cw" and "autoattack", 50 for "deepfool",
        1000 for "square".
    restarts: random starts, of which each image keeps the worst.
    eot: forward passes whose logits are averaged, for a model that is random (expectation over transformations).
    bpda: the gradient is that of the model's `surrogate()`, if it has one; logits stay the model's own.
    adaptive: do it in each way that fits the model, and keep each image's worst: as it is; by the gradient of each
        stand-in that the model has; each also averaged over eight passes, if two passes differ. "autoattack" goes on
        from way to way with the images that are still right, and runs Square, which follows no gradient, once.
    context: of a batch whose images depend on each other, how many of those that "autoattack" is done with go along
        with those it still attacks; all if None, which is exact and slow.
    seed: of the random starts.
    source: name of the model on which the images are made, for runs of several models; "" is the model itself.

    Raises:
        UserError: the name or norm is unknown, or a number is out of range.

    Example:
        >>> Attack("pgd").label, Attack("cw").norm
        ('pgd-linf-20x1', 'l2')
        >>> Attack.parse("pgd-100x5", eps="4/255").restarts
        5
    """

    name: str
    norm: str = CHOSEN
    eps: float = CHOSEN
    steps: int = CHOSEN
    restarts: int = 1
    eot: int = 1
    bpda: bool = False
    adaptive: bool = False
    context: int | None = None
    seed: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        if self.name not in STEPS:
            raise UserError(f"Attack: the attack {self.name!r} is unknown; {nearest(self.name, STEPS)}.")
        norm = ("l2" if self.name == "cw" else "linf") if self.norm is None else self.norm
        if norm not in NORMS:
            raise UserError(f"Attack: the norm {norm!r} is unknown; {nearest(norm, NORMS)}.")
        if self.name == "cw" and norm != "l2":
            raise UserError("Attack: 'cw' is an attack in L2; leave norm out, or take 'pgd' for 'linf'.")
        object.__setattr__(self, "norm", norm)
        object.__setattr__(self, "eps", float(NORMS[norm] if self.eps is None else self.eps))
        object.__setattr__(self, "steps", STEPS[self.name] if self.steps is None else self.steps)
        self._check_numbers()

    def _check_numbers(self) -> None:
        if not self.eps >= 0 or (self.norm == "linf" and self.eps > 1):
            raise UserError(f"Attack: eps must be in pixels of [0, 1], such as 8/255, not {self.eps}.")
        for name in ("steps", "restarts", "eot", "context"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"Attack: {name} must be at least 1, not {getattr(self, name)}.")
        if self.name == "fgsm" and self.steps != 1:
            raise UserError(f"Attack: 'fgsm' is one step, not {self.steps}; take 'pgd' for more.")
        if self.restarts > 1 and self.name not in REPEATABLE:
            raise UserError(
                f"Attack: {self.name!r} begins at the image itself, so {self.restarts} restarts do the same; pass 1."
            )

    @property
    def label(self) -> str:
        """Everything but eps in a word, fit for a file's name; `Attack.parse` reads it back, but for the source."""
        words = [self.name, self.norm, f"{self.steps}x{self.restarts}"]
        words += [f"eot{self.eot}"] if self.eot > 1 else []
        words += ["bpda"] if self.bpda else []
        words += ["adaptive"] if self.adaptive else []
        words += [f"context{self.context}"] if self.context is not None else []
        words += [f"seed{self.seed}"] if self.seed else []
        return "-".join(words) + (f"-from-{self.source}" if self.source else "")

    @classmethod
    def parse(cls, text: str, *, eps: float | str | None = None, **settings: Any) -> "Attack":
        """Read an attack from text: "pgd", "pgd-100", "pgd-l2-100x5", "square-2000", "pgd-eot8-bpda", or a label.

        Args:
            text: the name, then in any order: norm, steps or STEPSxRESTARTS, eotN, bpda, adaptive, contextN,
                seedN.
            eps: a number, or a fraction such as "8/255".
            settings: other fields of :class:`Attack`; what the text says goes before them.

        Raises:
            UserError: a word is none of these, or the attack cannot be.
        """
        name, *words = text.strip().lower().split("-")
        for word in words:
            settings |= _setting(word, text)
        return cls(name, eps=CHOSEN if eps is None else _fraction(eps), **settings)


def _setting(word: str, text: str) -> dict[str, Any]:
    """Read one word of an attack's text, e.g. "100x5" as steps and restarts."""
    if word in NORMS:
        return {"norm": word}
    if word in ("bpda", "adaptive"):
        return {word: True}
    for name in ("eot", "context", "seed"):
        if word.startswith(name) and word.removeprefix(name).isdecimal():
            return {name: int(word.removeprefix(name))}
    steps, times, restarts = word.partition("x")
    if steps.isdecimal() and (not times or restarts.isdecimal()):
        return {"steps": int(steps)} | ({"restarts": int(restarts)} if times else {})
    raise UserError(
        f"Attack: {word!r} in {text!r} is none of linf, l2, STEPS, STEPSxRESTARTS, eotN, bpda, adaptive, contextN, "
        "seedN; write it like 'pgd-l2-100x5'."
    )


def _fraction(eps: float | str) -> float:
    above, _, below = str(eps).partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        raise UserError(f"Attack: eps must be a number or a fraction such as 8/255, not {eps!r}.") from None
