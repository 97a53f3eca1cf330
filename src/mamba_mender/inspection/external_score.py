"""External score: does the region that a map marks carry the prediction, and is it the foreground?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender._check import check_axes, nearest
from mamba_mender.inspection.binarise import binarise

Space = Literal["normalised", "raw"]


@dataclass(frozen=True)
class ExternalScore:
    """How well the region above the threshold passes the perturbation and the segmentation test.

    kept: mean probability of the true class when only the region is shown.
    removed: the same when only the rest is shown.
    perturbation_ratio: kept / removed: above 1 when the region carries the prediction.
    iou: mean overlap of the region with the foreground mask, in [0, 1]; None without masks.
    coverage: mean share of the image that the region covers.
    outside: mean share of the positive correlation that falls outside the foreground mask, before any
        threshold; None without masks. An even map has background.
    background: mean share of the image outside the mask; None without masks.
    """

    kept: float
    removed: float
    perturbation_ratio: float
    iou: float | None
    coverage: float
    outside: float | None
    background: float | None

    @property
    def score(self) -> float | None:
        """The paper's ECS: perturbation ratio times IoU; None without masks."""
        return None if self.iou is None else self.perturbation_ratio * self.iou

    def to_dict(self) -> dict[str, Any]:
        """Turn the scores into numbers that JSON can hold."""
        names = ("kept", "removed", "perturbation_ratio", "iou", "coverage", "outside", "background", "score")
        return {name: getattr(self, name) for name in names}


def external_score(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    maps: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    masks: Tensor | None = None,
    has_mask: Tensor | None = None,
    alpha: float = 0.5,
    space: Space = "normalised",
    batch_size: int = 64,
) -> ExternalScore:
    r"""Score external correlation maps by what the model still sees through them.

    The map is resized to the image and cut at alpha to the region e. With k the true class, i
    the image, m the foreground and p the model's probability::

        perturbation_ratio  mean p(e * i)_k / mean p((1 - e) * i)_k
        iou                 mean |e and m| / |e or m|
        outside             mean sum_n ReLU(e_n) (1 - m_n) / sum_n ReLU(e_n), over the tokens n

    The ratio is one of means over the samples, as in the authors' code; a mean of ratios is
    ruled by single samples. Softmax runs in float64, so that no probability vanishes.

    Args:
        model: normalised images to logits, (batch, classes); in eval mode.
        images: raw, in [0, 1], (batch, image_channels, height, width).
        labels: the true classes, (batch).
        maps: external correlation, (batch, rows, columns).
        mean, std: the normalisation of each image channel.
        masks: foreground, boolean, (batch, 1, height, width).
        has_mask: which samples have a mask, (batch); None means all.
        alpha: the threshold in [0, 1).
        space: where the hidden part is set to 0: "normalised" (default, as in the authors' code)
            paints it in the mean colour; "raw", as the definition is written, paints it black.
        batch_size: images shown to the model at once.

    Returns:
        The scores, over all samples.

    Raises:
        ValueError: shapes disagree, there is no sample, or alpha or space is unknown.

    Example:
        >>> left = torch.tensor([[[1.0, 0.0]]])  # the map marks the left half, and the model looks there
        >>> score = external_score(lambda x: 9 * x[:, 0, 0, :1] * torch.tensor([[1.0, 0.0]]),
        ...     torch.ones(1, 1, 1, 2), torch.tensor([0]), left, mean=[0.0], std=[1.0])
        >>> round(score.kept, 3), round(score.removed, 3), score.coverage
        (1.0, 0.5, 0.5)

    Source: Vision Mamba Mender (NeurIPS 2024), Definition 1.
    """
    where, sizes = "external_score", {"one": 1}
    check_axes(where, sizes, images=(images, "batch image_channels height width"), labels=(labels, "batch"))
    check_axes(where, sizes, maps=(maps, "batch rows columns"), masks=(masks, "batch one height width"))
    check_axes(where, sizes, has_mask=(has_mask, "batch"))
    if space not in get_args(Space):
        raise ValueError(f"{where}: no space {space!r}; {nearest(space, get_args(Space))}.")
    if sizes["batch"] == 0:
        raise ValueError(f"{where}: there is no sample to score.")
    centre, scale = (torch.as_tensor(t, dtype=images.dtype, device=images.device)[:, None, None] for t in (mean, std))
    masks, masked_maps = _masked(masks, maps.detach(), has_mask)
    region = binarise(resize_map(maps.detach(), (sizes["height"], sizes["width"])), alpha)[:, None]
    kept = removed = 0.0
    for part in torch.arange(sizes["batch"]).split(batch_size):
        shown, own = images[part], region[part]
        for_both = _hide(shown, own, centre, scale, space), _hide(shown, ~own, centre, scale, space)
        kept += _probability(model, for_both[0], labels[part])
        removed += _probability(model, for_both[1], labels[part])
    kept, removed = kept / sizes["batch"], removed / sizes["batch"]
    return ExternalScore(
        kept=kept,
        removed=removed,
        perturbation_ratio=kept / removed,
        iou=None if masks is None else _iou(region if has_mask is None else region[has_mask], masks),
        coverage=region.double().mean().item(),
        outside=None if masks is None else _outside(masked_maps, masks),
        background=None if masks is None else 1 - masks.double().mean().item(),
    )


def resize_map(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps to the image, bilinearly.

    Args:
        maps: (batch, rows, columns).
        size: height and width.

    Returns:
        (batch, height, width).

    Example:
        >>> resize_map(torch.tensor([[[0.0, 1.0]]]), (1, 4))
        tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _hide(images: Tensor, region: Tensor, mean: Tensor, std: Tensor, space: Space) -> Tensor:
    """Normalise the images and show only a region of them."""
    if space == "raw":
        return (images * region - mean) / std
    return (images - mean) / std * region


@torch.no_grad()
def _probability(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> float:
    """Sum the probability of the true class over the images."""
    probabilities = model(images).double().softmax(1).clamp(min=torch.finfo(torch.float64).tiny)
    return probabilities.gather(1, labels[:, None]).sum().item()


def _masked(masks: Tensor | None, maps: Tensor, has_mask: Tensor | None) -> tuple[Tensor | None, Tensor]:
    """Take the samples that have a mask; no masks if there is none."""
    if masks is None or (has_mask is not None and not has_mask.any()):
        return None, maps
    return (masks.bool(), maps) if has_mask is None else (masks[has_mask].bool(), maps[has_mask])


def _iou(region: Tensor, masks: Tensor) -> float:
    """Average the overlap of region and mask; two empty ones agree."""
    both = (region & masks).flatten(1).sum(1).double()
    either = (region | masks).flatten(1).sum(1).double()
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).mean().item()


def _outside(maps: Tensor, masks: Tensor) -> float:
    """Average the share of positive correlation outside the mask; a map without any counts as even."""
    background = 1 - F.adaptive_avg_pool2d(masks.double(), (maps.shape[1], maps.shape[2]))[:, 0]
    positive = maps.double().relu()
    total = positive.sum((1, 2))
    share = (positive * background).sum((1, 2)) / torch.where(total > 0, total, 1)
    return torch.where(total > 0, share, background.mean((1, 2))).mean().item()
