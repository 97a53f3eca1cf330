"""What a stress test runs: the levels of everything that can go wrong, and how many images each is judged on."""

from __future__ import annotations  # the settings of attacks and faults are only types here

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from mamba_mender._check import UserError, nearest
from mamba_mender.data.corruptions import CORRUPTIONS, VALIDATION_CORRUPTIONS
from mamba_mender.data.corruptions.add_noise import KINDS
from mamba_mender.stress.cell import CLEAN, Cell, Perturbation
from mamba_mender.stress.streams import ORDERS

if TYPE_CHECKING:
    from mamba_mender.stress.attacks import Attack
    from mamba_mender.stress.faults import StateFault

COUNTED = {"clean": "noise", "rotation": "corruption", "translation": "corruption"}  # families that share a count


@dataclass(frozen=True)
class Suite:
    """Say what is run, and on how many images.

    Every perturbation is run in shuffled order at the main batch size: that is the table. Streams are run on clean
    images and on Gaussian noise: each order at the main batch size, and each batch size in shuffled order.

    noise: levels by kind: gaussian, uniform, speckle, impulse.
    corruptions: "all" for the fifteen of ImageNet-C, or names.
    severities: of the corruptions, 1 to 5.
    rotations: degrees.
    translations: shares of the side by which images move down and to the right.
    attacks: settings of attacks, by ``stress.attacks``.
    faults: settings of faults in the state, by ``stress.faults``.
    shifts: names of other image sets of the same classes, which are passed to ``stress_test``.
    orders: label-sorted, imbalanced, drifting.
    batch_sizes: for streams in shuffled order.
    stream_noise: levels of Gaussian noise on streams, 0 for clean images; the drifting stream rises to each of them.
    imbalance: how many times more frequent the first class is than the last in the imbalanced stream.
    count_noise: images for clean images and noise.
    count_corruption: images for each corruption, rotation and translation.
    count_shift, count_attack, count_fault, count_stream: images for these.
    limits: at most so many images for the model or the perturbation of this name; of an attack, its name or label.
    warmup: images that come first in each cell of the table and are not judged; none before attacks.
    stream_warmup: the same for streams.

    Raises:
        UserError: a name is unknown, or a number out of range.

    Example:
        >>> suite = Suite(noise={"gaussian": [0.1, 0.3]}, corruptions=["fog"], severities=[3])
        >>> [cell.perturbation.key for cell in suite.cells(["vim"])]
        ['clean', 'noise-gaussian-0.1', 'noise-gaussian-0.3', 'corruption-fog-3']
    """

    noise: Mapping[str, Sequence[float]] = field(default_factory=lambda: {"gaussian": (0.1, 0.2, 0.3, 0.4, 0.5)})
    corruptions: str | Sequence[str] = "all"
    severities: Sequence[int] = (1, 2, 3, 4, 5)
    rotations: Sequence[float] = ()
    translations: Sequence[float] = ()
    attacks: Sequence[Attack] = ()
    faults: Sequence[StateFault] = ()
    shifts: Sequence[str] = ()
    orders: Sequence[str] = ()
    batch_sizes: Sequence[int] = ()
    stream_noise: Sequence[float] = (0.0, 0.3)
    imbalance: float = 10.0
    count_noise: int = 10_000
    count_corruption: int = 2_000
    count_shift: int = 10_000
    count_attack: int = 500
    count_fault: int = 2_000
    count_stream: int = 10_000
    limits: Mapping[str, int] = field(default_factory=dict)
    warmup: int = 0
    stream_warmup: int = 200

    def __post_init__(self) -> None:
        names = tuple(CORRUPTIONS) if self.corruptions == "all" else self.corruptions
        given = {"corruptions": (names,) if isinstance(names, str) else tuple(names), "limits": dict(self.limits)}
        given["noise"] = {kind: tuple(levels) for kind, levels in self.noise.items()}
        for part in fields(self):
            value = given.get(part.name, getattr(self, part.name))
            object.__setattr__(self, part.name, tuple(value) if isinstance(value, list) else value)
        _check_names("corruption", self.corruptions, {*CORRUPTIONS, *VALIDATION_CORRUPTIONS})
        _check_names("kind of noise", self.noise, KINDS)
        _check_names("order", self.orders, ORDERS)
        _check_numbers(self)

    def perturbations(self) -> list[Perturbation]:
        """List what is done to the images, clean images first."""
        listed = [CLEAN]
        listed += [Perturbation("noise", kind, float(level)) for kind, levels in self.noise.items() for level in levels]
        listed += [Perturbation("corruption", name, float(s)) for name in self.corruptions for s in self.severities]
        listed += [Perturbation("rotation", "rotation", float(degrees)) for degrees in self.rotations]
        listed += [Perturbation("translation", "translation", float(share)) for share in self.translations]
        listed += [Perturbation("shift", name, 1.0) for name in self.shifts]
        listed += [Perturbation("fault", fault.label, float(fault.rate)) for fault in self.faults]
        return listed + [Perturbation("attack", attack.label, float(attack.eps)) for attack in self.attacks]

    def cells(self, models: Sequence[str], *, batch_size: int = 200, seed: int = 0) -> list[Cell]:
        """List the cells, what is done to the images outermost and models innermost.

        Raises:
            UserError: two cells have the same name.
        """
        runs = [(perturbation, "shuffled", batch_size, False) for perturbation in self.perturbations()]
        for level in self.stream_noise:
            noise = Perturbation("noise", "gaussian", float(level)) if level else CLEAN
            runs += [(noise, "shuffled", size, True) for size in self.batch_sizes]
            runs += [(noise, order, batch_size, True) for order in self.orders if level or order != "drifting"]
        listed = list(dict.fromkeys(self._cell(model, *run, seed) for run in runs for model in models))
        keys = [cell.key for cell in listed]
        if double := sorted({key for key in keys if keys.count(key) > 1}):
            raise UserError(f"Suite: two cells are called {double[0]!r}; give each level, model and attack once.")
        return listed

    def to_dict(self) -> dict[str, Any]:
        """Give the fields by name, as JSON has them."""
        return asdict(self)

    def _cell(self, model: str, done: Perturbation, order: str, batch_size: int, stream: bool, seed: int) -> Cell:
        family = "stream" if stream else COUNTED.get(done.family, done.family)
        warmup = self.stream_warmup if stream else 0 if family == "attack" else self.warmup
        count = getattr(self, f"count_{family}")
        names = (model, done.name, done.name.partition("-")[0])
        count = min([count, *(self.limits[name] for name in names if name in self.limits)])
        return Cell(model, done, order, batch_size, count, warmup, seed)


def _check_names(what: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"Suite: unknown {what} {name!r}; {nearest(name, known)}.")


def _check_numbers(suite: Suite) -> None:
    levels = [level for levels in suite.noise.values() for level in levels]
    wrong = [f"a level of noise is {level}, below or at 0" for level in levels if level <= 0]
    wrong += [f"a severity is {severity}, not 1 to 5" for severity in suite.severities if severity not in range(1, 6)]
    wrong += [f"a translation is {share}, beyond the whole side" for share in suite.translations if abs(share) > 1]
    wrong += [f"a batch size is {size}, below 1" for size in suite.batch_sizes if size < 1]
    wrong += [f"stream_noise has {level}, below 0" for level in suite.stream_noise if level < 0]
    wrong += [f"eps of the attacks is {eps:g}, not above 0" for eps in {a.eps for a in suite.attacks} if eps <= 0]
    wrong += [f"imbalance is {suite.imbalance}, below 1"] * (suite.imbalance < 1)
    counts = {part.name: getattr(suite, part.name) for part in fields(suite) if part.name.startswith("count_")}
    wrong += [f"{name} is {count}, below 1" for name, count in (counts | dict(suite.limits)).items() if count < 1]
    warmups = {name: getattr(suite, name) for name in ("warmup", "stream_warmup")}
    wrong += [f"{name} is {count}, below 0" for name, count in warmups.items() if count < 0]
    if wrong:
        raise UserError(f"Suite: {'; '.join(wrong)}.")
