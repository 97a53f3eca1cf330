"""What a repair did: the states of each site before and after it, and the answers with and without it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from mamba_mender._check import UserError
from mamba_mender.repair.guard.guarded_model import GuardedModel
from mamba_mender.repair.guard.law import Law, Modes, law_of, wasserstein
from mamba_mender.repair.guard.memory import merge
from mamba_mender.repair.guard.moments import in_double
from mamba_mender.repair.guard.passage import SiteReport


@dataclass(frozen=True)
class SiteRepair:
    """The states of flagged samples at one site, around the repair.

    samples: that were moved.
    before, after: Wasserstein distance of their law from the healthy law of what they show; None where none was moved.
    restored: share of the distance that the repair took away, 1 - after / before; below 0 where it added to it.
    health: mean health of all samples here, before the repair.
    flagged: share of all samples whose health is below 1 here.
    faults: entries found faulty.
    """

    samples: int
    before: float | None
    after: float | None
    restored: float | None
    health: float
    flagged: float
    faults: int


@dataclass(frozen=True)
class RepairAnalysis:
    """What a repair did to the states and answers of a set of inputs.

    sites: by key, in the order of the model; their healths are the curve over the layers.
    samples: of all inputs.
    flagged: share that was flagged for repair.
    base, repaired: share of right answers of the model itself and of the guarded one.
    to_right, to_wrong: answers that the repair turned from wrong to right, and from right to wrong.
    changed: answers that differ at all.
    elsewhere: faulty entries at places that are watched for faults alone, by key.
    """

    sites: dict[str, SiteRepair]
    samples: int
    flagged: float
    base: float
    repaired: float
    to_right: int
    to_wrong: int
    changed: int
    elsewhere: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Give everything by name, as JSON has it."""
        return asdict(self)


def repair_analysis(guarded: GuardedModel, inputs: Tensor, labels: Tensor, *, batch_size: int = 100) -> RepairAnalysis:
    """Compare states before and after their repair, and answers with and without it.

    The inputs pass as a stream, and the guard learns from them as from any; inside ``guarded.held()`` it does not.

    Args:
        guarded: a guarded classifier.
        inputs: what the model takes, (samples, ...).
        labels: right answers, (samples,).
        batch_size: samples at a time.

    Returns:
        A :class:`RepairAnalysis`.

    Raises:
        UserError: there are no inputs, or not as many labels.
    """
    if not len(inputs) or len(inputs) != len(labels):
        raise UserError(
            f"repair_analysis: inputs and labels must be equally many, and some, got {len(inputs)} and {len(labels)}."
        )
    tallies = {key: _Tally(site.law.modes) for key, site in guarded.guards().items()}
    answers: list[tuple[Tensor, Tensor]] = []
    flagged = 0
    elsewhere: Counter[str] = Counter()
    with torch.no_grad(), keeping_states(guarded):
        for part in inputs.split(batch_size):
            plain, ours = (logits_of(model(part)).argmax(-1).cpu() for model in (guarded.model, guarded))
            answers.append((plain, ours))
            assert guarded.last is not None
            flagged += 0 if guarded.last.flagged is None else int(guarded.last.flagged.sum())
            for key, report in guarded.last.reports.items():
                tallies[key].add(report)
            elsewhere.update({key: int(counts.sum()) for key, counts in guarded.last.faults.items()})
    plain, ours = (torch.cat(parts) for parts in zip(*answers, strict=True))
    was, now = plain == labels.cpu(), ours == labels.cpu()
    return RepairAnalysis(
        sites={key: tally.result(inputs.shape[0]) for key, tally in tallies.items()},
        samples=len(inputs),
        flagged=flagged / len(inputs),
        base=float(was.double().mean()),
        repaired=float(now.double().mean()),
        to_right=int((~was & now).sum()),
        to_wrong=int((was & ~now).sum()),
        changed=int((plain != ours).sum()),
        elsewhere=dict(elsewhere),
    )


class _Tally:
    """Pool what one site reports, batch by batch."""

    def __init__(self, modes: Modes) -> None:
        self.modes = Modes(None if modes.basis is None else modes.basis.double(), modes.edges)
        self.moved, self.faults, self.tokens = 0, 0, 1
        self.laws: tuple[Law, Law, Law] | None = None
        self.health, self.unhealthy = 0.0, 0

    def add(self, report: SiteReport) -> None:
        self.health += float(report.health.sum())
        self.unhealthy += int((report.health < 1).sum())
        self.faults += int(report.faults.sum())
        if report.before is None or report.after is None or report.realignment is None:
            return
        count, self.tokens = len(report.before), report.before.shape[1]
        new = (
            law_of(report.before.double(), self.modes),
            law_of(report.after.double(), self.modes),
            in_double(report.realignment.target),
        )
        self.moved += count
        if self.laws is None:
            self.laws = new
        else:
            share = count / self.moved
            before, after, target = self.laws
            self.laws = (
                merge(before, new[0], share, self.modes),
                merge(after, new[1], share, self.modes),
                merge(target, new[2], share, self.modes),
            )

    def result(self, samples: int) -> SiteRepair:
        before = after = restored = None
        if self.laws is not None:
            before, after = (float(wasserstein(law, self.laws[2], self.modes, self.tokens)) for law in self.laws[:2])
            restored = 1 - after / before if before > 0 else 0.0
        return SiteRepair(
            self.moved, before, after, restored, self.health / samples, self.unhealthy / samples, self.faults
        )


@contextmanager
def keeping_states(guarded: GuardedModel) -> Iterator[None]:
    """Keep the states around each repair while the block lasts."""
    before, guarded.keep_states = guarded.keep_states, True
    try:
        yield
    finally:
        guarded.keep_states = before


def logits_of(out: Any) -> Tensor:
    """Take the logits of what a model gives: a tensor, or transformers' output."""
    return getattr(out, "logits", out)
