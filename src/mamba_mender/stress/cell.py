"""One cell of the table of a stress test: a model, what is done to its images, and how they come."""

import re
from dataclasses import asdict, dataclass
from typing import Any

FAMILIES = ("clean", "noise", "corruption", "rotation", "translation", "shift", "attack", "fault")


@dataclass(frozen=True)
class Perturbation:
    """What is done to the images, or to the model that sees them.

    family: clean, noise, corruption, rotation, translation, shift, attack or fault.
    name: the kind of noise, the corruption, the other image set, or the label of the attack or fault; for the other
        families the family itself.
    level: how much of it: standard deviation, severity, degrees, share of the side, budget or rate; 0 for none.
    """

    family: str
    name: str
    level: float

    @property
    def key(self) -> str:
        """A name that no other perturbation of the suite has.

        Example:
            >>> Perturbation("noise", "gaussian", 0.3).key, Perturbation("clean", "clean", 0.0).key
            ('noise-gaussian-0.3', 'clean')
        """
        if self.family == "clean":
            return "clean"
        return "-".join([self.family, *([self.name] if self.name != self.family else []), f"{self.level:g}"])


CLEAN = Perturbation("clean", "clean", 0.0)


@dataclass(frozen=True)
class Cell:
    """Everything that decides one accuracy, but for the model's weights and the images.

    model: name of the model.
    perturbation: what is done to the images.
    order: the order of the stream: shuffled, label-sorted, imbalanced or drifting.
    batch_size: images at a time.
    count: images that are judged, where the set has as many.
    warmup: images that come before those, and are not judged.
    seed: of the draw, the order and the perturbation.
    """

    model: str
    perturbation: Perturbation
    order: str = "shuffled"
    batch_size: int = 200
    count: int = 10_000
    warmup: int = 0
    seed: int = 0

    @property
    def key(self) -> str:
        """A name for the cell that can be a file's.

        Example:
            >>> Cell("vim", Perturbation("noise", "gaussian", 0.3), batch_size=4).key
            'vim--noise-gaussian-0.3--shuffled--b4--n10000--w0--s0'
        """
        how = f"b{self.batch_size}--n{self.count}--w{self.warmup}--s{self.seed}"
        return re.sub(r"[^\w.+-]", "_", f"{self.model}--{self.perturbation.key}--{self.order}--{how}")

    def to_dict(self) -> dict[str, Any]:
        """Give the fields by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Cell":
        """Make the cell that :meth:`to_dict` described.

        Example:
            >>> cell = Cell("vim", CLEAN)
            >>> Cell.from_dict(cell.to_dict()) == cell
            True
        """
        given: dict[str, Any] = fields | {"perturbation": Perturbation(**fields["perturbation"])}
        return cls(**given)
