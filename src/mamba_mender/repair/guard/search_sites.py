"""Which states to guard, found on corruptions that no test uses."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender._progress import ProgressLine
from mamba_mender.data import VALIDATION_CORRUPTIONS, ImageSet, Normalise, corrupt
from mamba_mender.repair.guard.repair_analysis import logits_of
from mamba_mender.repair.guard.state_guard import StateGuard
from mamba_mender.taps.state_key import StateKey

MOST_LOST = 0.005  # share of clean images by which a choice may fall behind the model alone


@dataclass(frozen=True)
class SiteScore:
    """How a guard of some sites did.

    sites: their keys; none for the model alone.
    clean: share of right answers on images as they are.
    corrupted: the same by corruption, over its severities.
    mean: of these.
    """

    sites: tuple[str, ...]
    clean: float
    corrupted: dict[str, float]

    @property
    def mean(self) -> float:
        return sum(self.corrupted.values()) / len(self.corrupted)


@dataclass(frozen=True)
class SiteSearch:
    """Candidates, their scores, and which was chosen.

    scores: by name of the candidate; "none" is the model alone.
    choice: name of the chosen one.
    """

    scores: dict[str, SiteScore]
    choice: str

    @property
    def sites(self) -> tuple[str, ...]:
        """Keys of the chosen sites, for :meth:`StateGuard.at`."""
        return self.scores[self.choice].sites

    def to_dict(self) -> dict[str, Any]:
        """Give everything by name, as JSON has it."""
        return asdict(self)


def search_sites(
    guard: StateGuard,
    model: nn.Module,
    images: ImageSet,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    severities: Sequence[int] = (2, 4),
    count: int = 500,
    batch_size: int = 50,
    seed: int = 0,
    progress: bool = False,
) -> SiteSearch:
    """Choose among a guard's sites by a short search on ImageNet-C's four validation corruptions.

    Each candidate repairs a stream of each corruption and severity, from a fresh start. Chosen is the highest mean
    over the corruptions among those that lose at most 0.5 % of the images as they are (all, if each loses more), and
    among equals the one with fewest sites.

    Args:
        guard: calibrated at all candidate sites, residual states.
        model: the model it was calibrated on.
        images: held out from training and test.
        mean, std: of the normalisation; the guard's own if omitted.
        severities: from 1 to 5.
        count: at most so many images.
        batch_size: images at a time.
        seed: of the corruptions.
        progress: show a bar when it lasts longer than two seconds.

    Returns:
        A :class:`SiteSearch`.

    Raises:
        UserError: there is no normalisation, no image, or no severity.
    """
    mean, std = mean or guard.card.get("mean"), std or guard.card.get("std")
    if mean is None or std is None:
        raise UserError("search_sites: images need mean and std, those the model was trained with.")
    if not len(images) or not severities:
        raise UserError("search_sites: at least one image and one severity are needed.")
    device = next(model.parameters(), torch.empty(0)).device
    normalise = Normalise(list(mean), list(std)).to(device)
    batch = images.batch(torch.arange(min(count, len(images))))
    labels = batch.labels.to(device)
    streams = {"clean": [normalise(batch.images.to(device))]}
    for name in VALIDATION_CORRUPTIONS:
        draws = torch.Generator().manual_seed(seed)
        streams[name] = [
            normalise(corrupt(batch.images, name, level, generator=draws).to(device)) for level in severities
        ]
    candidates = candidate_sites(list(guard.laws))
    scores: dict[str, SiteScore] = {}
    with torch.no_grad(), ProgressLine(1 + len(candidates), label="search", shown=progress) as line:
        for name, sites in {"none": (), **candidates}.items():
            guarded = guard.at(sites)(model) if sites else model
            right = {stream: _right(guarded, parts, labels, batch_size) for stream, parts in streams.items()}
            scores[name] = SiteScore(sites, right.pop("clean"), right)
            line.advance(len(scores))
    return SiteSearch(scores, _choose(scores))


def candidate_sites(keys: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Name the sets of sites that are tried; equal ones once.

    Example:
        >>> list(candidate_sites(["embedding", "0.h", "1.h", "2.h", "3.h"]))
        ['embedding', 'all', 'first half', 'first three quarters', 'blocks']
    """
    first = tuple(key for key in keys if StateKey.parse(key).block < 0)
    blocks = tuple(key for key in keys if key not in first)
    named = {
        "embedding": first,
        "all": first + blocks,
        "first half": first + blocks[: (len(blocks) + 1) // 2],
        "first three quarters": first + blocks[: max(1, 3 * len(blocks) // 4)],
        "blocks": blocks,
    }
    kept: dict[str, tuple[str, ...]] = {}
    for name, sites in named.items():
        if sites and sites not in kept.values():
            kept[name] = sites
    return kept


def _right(model: nn.Module, parts: Sequence[Tensor], labels: Tensor, batch_size: int) -> float:
    """Measure the share of right answers over streams, each from a fresh start."""
    found = []
    for images in parts:
        if hasattr(model, "reset"):
            model.reset()  # pyright: ignore[reportCallIssue]
        answers = torch.cat([logits_of(model(part)).argmax(-1) for part in images.split(batch_size)])
        found.append(float((answers == labels).double().mean()))
    return sum(found) / len(found)


def _choose(scores: Mapping[str, SiteScore]) -> str:
    """Choose the highest mean among those that keep the clean images."""
    base = scores["none"].clean
    guards = {name: score for name, score in scores.items() if name != "none"}
    kept = {name: score for name, score in guards.items() if score.clean >= base - MOST_LOST} or guards
    return max(kept, key=lambda name: (kept[name].mean, -len(kept[name].sites)))
