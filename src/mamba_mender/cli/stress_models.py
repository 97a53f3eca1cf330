"""Models under test: a saved model on pixels, bare and with each repair."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mamba_mender._check import UserError
from mamba_mender.cli.stress_options import BARE, GUARD
from mamba_mender.cli.train import check_fit

if TYPE_CHECKING:
    from torch import nn

    from mamba_mender.data import ImageData
    from mamba_mender.repair.guard import StateGuard


@dataclass(frozen=True, eq=False)
class Tested:
    """A saved model and the images it is to be judged on.

    path: its file.
    network: the model on normalised images, in evaluation mode.
    data: the images, with the mean and std of the model's training.
    """

    path: Path
    network: "nn.Module"
    data: "ImageData"

    def on_pixels(self, inner: "nn.Module | None" = None) -> "nn.Module":
        """Put the normalisation before the model, or before what guards it."""
        from torch import nn

        from mamba_mender.data import Normalise

        return nn.Sequential(Normalise(self.data.mean, self.data.std), self.network if inner is None else inner).eval()


def take_tested(command: str, path: Path, data: str | None, *, limit: int | None, skip_bad: bool) -> Tested:
    """Load a model and images of its size and classes.

    Args:
        command: who asks, for messages.
        path: a .safetensors file of ours, or a published .pth.
        data: a data set's name or folder; what the model was trained on if None.
        limit: of the training images.
        skip_bad: leave out images that cannot be read.

    Raises:
        UserError: the model or images are missing, or do not belong together.
    """
    from dataclasses import replace

    from mamba_mender.data import load_data
    from mamba_mender.models import load_model, read_card

    network: Any = load_model(path).eval()
    card = read_card(path) if path.suffix == ".safetensors" else {}
    about = card.get("data", {})
    name = data or about.get("name")
    if name is None:
        raise UserError(f"{command}: the card of {str(path)!r} names no data; say which with --data.")
    images = load_data(name, img_size=network.img_size, limit=limit, skip_bad=skip_bad)
    check_fit(str(path), network, images)
    _check_classes(command, network.num_classes, card.get("classes"), images)
    images = replace(images, mean=about.get("mean", images.mean), std=about.get("std", images.std))
    return Tested(path, network, images)


def _check_classes(command: str, count: int, known: list[str] | None, images: "ImageData") -> None:
    if (known is not None and known != images.classes) or count != len(images.classes):
        told = known or f"{count} classes"
        raise UserError(
            f"{command}: the model tells {told} apart, but {images.name} has the classes {images.classes}; "
            f"its answers would mean nothing there."
        )


def take_shift(tested: Tested, name: str) -> "ImageData":
    """Load another image set of the same classes, scaled to the model.

    Raises:
        UserError: it has other classes, or another number of channels.
    """
    from mamba_mender.data import load_data

    network: Any = tested.network
    images = load_data(name, img_size=network.img_size)
    check_fit(str(tested.path), network, images)
    _check_classes("stress", len(tested.data.classes), tested.data.classes, images)
    return images


def take_guard(tested: Tested, path: Path | None, *, sites: Sequence[str] | None = None, **how: Any) -> "StateGuard":
    """Load a guard, or calibrate one on the training images if no file is given.

    Args:
        tested: the model and its images.
        path: the guard's file, or None.
        sites: of a guard that is calibrated; its own choice if None.
        how: further arguments of ``StateGuard.calibrate``.

    Raises:
        UserError: the file is missing or holds no guard, or calibration is not possible.
    """
    from mamba_mender.repair.guard import StateGuard

    if path is not None:
        return StateGuard.load(path)
    data = tested.data
    try:
        return StateGuard.calibrate(
            tested.network, data.train, data.validation, mean=data.mean, std=data.std, sites=sites, **how
        )
    except ValueError as error:  # a site that the model has not
        raise UserError(str(error)) from error


def with_repairs(
    tested: Tested, names: Sequence[str], *, guard: Path | None, tell: Callable[[str], None], progress: bool
) -> dict[str, "nn.Module"]:
    """Give the model on pixels by the name of each repair.

    Args:
        tested: the model and its images.
        names: "none", "guard" and peers of ``mamba_mender.repair.peers``.
        guard: file of a calibrated guard; calibrated on the training images if None.
        tell: told where the guard came from.
        progress: show a bar when something lasts longer than two seconds.
    """
    from mamba_mender.repair.peers import make_peer

    found = {}
    for name in names:
        if name == BARE:
            found[name] = tested.on_pixels()
        elif name == GUARD:
            how: dict[str, Any] = {} if guard else {"progress": progress}
            own = take_guard(tested, guard, **how)
            if guard is None:
                sites, count = ", ".join(own.laws), own.card["healthy"]
                tell(f"The guard was calibrated on {count} training images, at {sites}; --guard takes one from a file.")
            found[name] = tested.on_pixels(own(tested.network))
        else:
            found[name] = make_peer(name, tested.on_pixels(), source=tested.data.train)
    return found
