"""The state guard: healthy statistics of a model's states, and the repair of states that leave them."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mamba_mender import __version__
from mamba_mender._check import UserError
from mamba_mender._files import write_atomic
from mamba_mender.data import ImageSet, Normalise
from mamba_mender.repair.guard.calibrate import Inputs, measure_laws
from mamba_mender.repair.guard.config import GuardConfig
from mamba_mender.repair.guard.drift import BLOCKS, LEAST
from mamba_mender.repair.guard.fault_law import FaultLaw
from mamba_mender.repair.guard.guarded_model import GuardedModel, site_places
from mamba_mender.repair.guard.health import WEIGHTS, false_alarm_weights, site_weights
from mamba_mender.repair.guard.site_law import SiteLaw
from mamba_mender.repair.guard.vigilance import SPAN
from mamba_mender.taps.find_places import find_places

DEFAULT = GuardConfig()
MOST_SITES = 6


@dataclass(frozen=True)
class StateGuard:
    """Healthy statistics of a model's states; called with the model, it gives the guarded model.

    laws: what is healthy at each site, by key, in the order of the model.
    config: the settings.
    faults: what tells a fault, at each site and in the residual stream after every block, by key.
    card: what it was calibrated on: hash of the model, preprocessing, counts, versions.

    Example:
        >>> from mamba_mender.data import load_data
        >>> from mamba_mender.models import create_model
        >>> data = load_data("digits", limit=700)
        >>> model = create_model("vim_micro", num_classes=10, img_size=8, in_chans=1, patch_size=2).eval()
        >>> guard = StateGuard.calibrate(model, data.train, data.validation, mean=data.mean, std=data.std)
        >>> guarded = guard(model)
        >>> guarded(torch.zeros(2, 1, 8, 8)).shape, guarded.last_health.shape
        (torch.Size([2, 10]), torch.Size([2]))
    """

    laws: dict[str, SiteLaw]
    config: GuardConfig = DEFAULT
    card: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, FaultLaw] = field(default_factory=dict)

    @classmethod
    def calibrate(
        cls,
        model: nn.Module,
        healthy: ImageSet | Tensor,
        held_out: ImageSet | Tensor | None = None,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        labels: Tensor | None = None,
        sites: Sequence[str] | None = None,
        config: GuardConfig = DEFAULT,
        count: int = 6000,
        batch_size: int = 250,
        progress: bool = False,
    ) -> "StateGuard":
        """Measure what is healthy.

        Args:
            model: takes normalised images, or whatever the tensors hold, such as token ids.
            healthy: images to measure the statistics on; or inputs of the model, (samples, ...).
            held_out: other images for the conformal scores, best such as the model was not trained on; if omitted,
                a third of the healthy ones is set apart.
            mean, std: of the normalisation, for images.
            labels: right answers for inputs that are a tensor, (samples,); statistics are of correct predictions. None
                takes all samples.
            sites: keys of states, such as ["embedding", "0.h"]; those of :func:`default_sites` if omitted.
            config: the settings.
            count: at most so many samples of each.
            batch_size: samples at a time.
            progress: show a bar when it lasts longer than two seconds.

        Raises:
            UserError: too few samples, mean and std are missing, or the model predicts none right.
            ValueError: the model has no such state.
        """
        keys = default_sites(model) if sites is None else known_sites(model, sites)
        device = next(model.parameters(), torch.empty(0)).device
        if isinstance(healthy, Tensor):
            fit = _of_tensor(healthy, labels, count, batch_size, device)
            apart = None if held_out is None else _of_tensor(_tensor(held_out), None, count, batch_size, device)
        else:
            if mean is None or std is None:
                raise UserError("StateGuard.calibrate: images need mean and std, those the model was trained with.")
            normalise = Normalise(list(mean), list(std)).to(device)
            fit = _of_images(healthy, normalise, count, batch_size, device)
            apart = None if held_out is None else _of_images(_images(held_out), normalise, count, batch_size, device)
        if apart is None:
            fit, apart = _set_apart(fit)
        if apart.count < config.least_held_out:
            raise UserError(
                f"StateGuard.calibrate: {apart.count} held-out samples are too few for alpha={config.alpha}: at least "
                f"{config.least_held_out} are needed; give more in held_out, or a larger alpha."
            )
        stream = [str(key) for key in find_places(model).points if key.state == "h"]
        places = list(dict.fromkeys([*keys, *stream]))
        measured, faults = measure_laws(model, places, fit, apart, bands=config.bands, progress=progress)
        laws = {key: law for key, law in measured.items() if key in keys}
        card = {
            "model": model_hash(model),
            "mean": None if mean is None else list(mean),
            "std": None if std is None else list(std),
            "healthy": fit.count,
            "held_out": apart.count,
            "versions": {"mamba_mender": __version__, "torch": torch.__version__},
        }
        return cls(laws, config, card, faults)

    def __call__(self, model: nn.Module) -> GuardedModel:
        """Guard a model.

        Raises:
            UserError: it is not the model the guard was calibrated on.
        """
        if self.card.get("model") not in (None, model_hash(model)):
            raise UserError(
                "StateGuard: the guard was calibrated on other weights than this model's; calibrate it again."
            )
        guarded = GuardedModel(model, self.laws, self.config, faults=self.faults).train(model.training)
        return guarded.to(next(model.parameters(), torch.empty(0)).device)

    def at(self, sites: Sequence[str]) -> "StateGuard":
        """Keep some of the sites; the others are watched for faults alone.

        Raises:
            ValueError: a site was not calibrated, or there is none.
        """
        if not sites:
            raise ValueError("StateGuard.at: sites must name at least one site.")
        if unknown := [key for key in sites if key not in self.laws]:
            raise ValueError(f"StateGuard.at: no site {unknown[0]!r}; it has {list(self.laws)}.")
        return replace(self, laws={key: law for key, law in self.laws.items() if key in sites})

    def with_config(self, **settings: Any) -> "StateGuard":
        """Change settings; all but the number of bands, which is measured."""
        if "bands" in settings:
            raise ValueError("StateGuard.with_config: bands are measured; calibrate again for another number.")
        return replace(self, config=replace(self.config, **settings))

    def gaps(self) -> list[str]:
        """Say in sentences what is not judged because too few samples were held out; an empty list if all is."""
        keys, first = list(self.laws), next(iter(self.laws.values()))
        count, alpha = first.gauge.scores.shape[1], self.config.alpha - first.rarity
        found = []
        if false_alarm_weights(len(keys), count, alpha)[1][1] == 0:
            needed = ceil((1 / (site_weights(len(keys))[0] * WEIGHTS[0]) + 1) / self.config.alpha) - 1
            found.append(
                f"With {count} held-out samples health is told by the distance at {keys[0]!r} alone; other sites and "
                f"measures, whose health stays 1 but for faults, need {needed}."
            )
        if not first.drift_limit.isfinite():
            found.append(
                f"The mean of a stream is not watched: that takes {BLOCKS} blocks of held-out samples, of {LEAST} to "
                f"{SPAN} each, all classes together or one."
            )
        return found

    def save(self, path: Path | str) -> Path:
        """Write the guard as safetensors, its card inside.

        Raises:
            ValueError: the path has another suffix.
            OSError: the disk is full or the folder closed; what was there is still there.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise ValueError(f"StateGuard.save: the path must end in '.safetensors', got {str(path)!r}.")
        tensors = {
            f"{key}/{n}": t.contiguous().cpu() for key, law in self.laws.items() for n, t in law.tensors().items()
        }
        for key, law in self.faults.items():
            tensors |= {f"faults:{key}/{n}": tensor.contiguous().cpu() for n, tensor in law.tensors().items()}
        card = {
            "guard": self.card,
            "config": self.config.to_dict(),
            "sites": list(self.laws),
            "places": list(self.faults),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, safetensors.torch.save(tensors, {"format": "pt", "guard": json.dumps(card)}))
        return path

    @classmethod
    def load(cls, path: Path | str) -> "StateGuard":
        """Read a guard.

        Raises:
            UserError: the file is missing, damaged, or holds no guard.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"StateGuard.load: there is no file {str(path)!r}; check the path.")
        try:
            with safe_open(path, framework="pt") as file:
                text = (file.metadata() or {}).get("guard")
            tensors = safetensors.torch.load_file(path)
        except SafetensorError as error:
            raise UserError(f"StateGuard.load: {str(path)!r} is damaged ({error}); calibrate it again.") from error
        if text is None:
            raise UserError(
                f"StateGuard.load: {str(path)!r} holds no guard; `mamba-mender guard calibrate` writes one."
            )
        card = json.loads(text)
        by_site: dict[str, dict[str, Tensor]] = {key: {} for key in card["sites"]}
        watched: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            key, _, rest = name.partition("/")
            own = by_site[key] if key in by_site else watched.setdefault(key.removeprefix("faults:"), {})
            own[rest] = tensor
        try:
            laws = {key: SiteLaw.of_tensors(own) for key, own in by_site.items()}
            faults = {key: FaultLaw(**watched[key]) for key in card["places"]}
        except (KeyError, TypeError) as error:
            raise UserError(
                f"StateGuard.load: {str(path)!r} was written by another version ({error}); calibrate it again."
            ) from error
        return cls(laws, GuardConfig.from_dict(card["config"]), card["guard"], faults)


def default_sites(model: nn.Module) -> list[str]:
    """Choose the embedding, where the model has one, and the residual stream after the first three quarters of blocks.

    Up to five of those blocks, evenly spread. Of the embedding alone, with half, three quarters and all of the blocks,
    and of blocks without it, this is what did best on noise and the validation corruptions: what is repaired late has
    done its harm.

    Raises:
        ValueError: the model has no residual stream that is known here.
    """
    keys = [key for key in find_places(model).points if key.state == "h"]
    if not keys:
        raise ValueError(
            f"StateGuard: {type(model).__name__} has no residual stream to guard; name its states in sites."
        )
    blocks = sorted(key for key in keys if key.block >= 0)
    early = blocks[: max(1, 3 * len(blocks) // 4)]
    most = MOST_SITES - (len(keys) - len(blocks))
    if len(early) > most:
        chosen = {round(n * (len(early) - 1) / (most - 1)) for n in range(most)}
        early = [key for n, key in enumerate(early) if n in chosen]
    return [str(key) for key in [*(key for key in keys if key.block < 0), *early]]


def known_sites(model: nn.Module, sites: Collection[str]) -> list[str]:
    """Give sites, each once, that a model has.

    Raises:
        ValueError: there are none, or the model has no such state.
    """
    if not sites:
        raise ValueError("StateGuard: sites must name at least one state.")
    return [str(key) for key in site_places(model, sites).points]


def model_hash(model: nn.Module) -> str:
    """Hash a model's weights, by name, shape and value."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _of_images(images: ImageSet, normalise: nn.Module, count: int, size: int, device: torch.device) -> Inputs:
    total = min(count, len(images))

    def batches() -> Iterator[tuple[Tensor, Tensor | None]]:
        for start in range(0, total, size):
            batch = images.batch(torch.arange(start, min(start + size, total)))
            yield normalise(batch.images.to(device)), batch.labels.to(device)

    one = images.batch(torch.tensor([0])).images
    empty = normalise(torch.zeros_like(one).to(device))
    return Inputs(batches, total, int(images.labels.max()) + 1, empty, positions=True)


def _of_tensor(inputs: Tensor, labels: Tensor | None, count: int, size: int, device: torch.device) -> Inputs:
    total = min(count, len(inputs))
    images = inputs.is_floating_point() and inputs.dim() == 4

    def batches() -> Iterator[tuple[Tensor, Tensor | None]]:
        for start in range(0, total, size):
            part = slice(start, min(start + size, total))
            yield inputs[part].to(device), None if labels is None else labels[part].to(device)

    if labels is not None and len(labels) != len(inputs):
        raise UserError(f"StateGuard.calibrate: {len(inputs)} inputs came with {len(labels)} labels; give one each.")
    classes = 0 if labels is None else int(labels.max()) + 1
    return Inputs(batches, total, classes, None, positions=images)


def _set_apart(inputs: Inputs) -> tuple[Inputs, Inputs]:
    """Split the last third off."""
    cut = inputs.count - inputs.count // 3
    return _part(inputs, 0, cut), _part(inputs, cut, inputs.count)


def _part(inputs: Inputs, start: int, stop: int) -> Inputs:
    """Take the samples from one number to before another."""

    def batches() -> Iterator[tuple[Tensor, Tensor | None]]:
        seen = 0
        for batch, labels in inputs.batches():
            own = slice(max(start - seen, 0), max(stop - seen, 0))
            seen += len(batch)
            if len(batch[own]):
                yield batch[own], None if labels is None else labels[own]

    return replace(inputs, batches=batches, count=stop - start)


def _tensor(given: ImageSet | Tensor) -> Tensor:
    if not isinstance(given, Tensor):
        raise UserError("StateGuard.calibrate: held_out must be a tensor, as the healthy inputs are.")
    return given


def _images(given: ImageSet | Tensor) -> ImageSet:
    if isinstance(given, Tensor):
        raise UserError("StateGuard.calibrate: held_out must be images, as the healthy ones are.")
    return given
