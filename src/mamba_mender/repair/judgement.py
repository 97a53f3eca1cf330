"""How a model does on every split that can judge it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mamba_mender.data import ImageData, ImageSet, Normalise
from mamba_mender.repair.swapped_images import SwappedImages
from mamba_mender.training.evaluate import evaluate


@dataclass(frozen=True)
class Judgement:
    """Right and wrong answers by split.

    correct: by split, bool, (images,).
    """

    correct: dict[str, Tensor]

    @property
    def accuracy(self) -> dict[str, float]:
        """Share of right answers by split."""
        return {split: values.double().mean().item() for split, values in self.correct.items()}

    @property
    def images(self) -> dict[str, int]:
        """Number of images by split."""
        return {split: len(values) for split, values in self.correct.items()}


def judge_model(model: nn.Module, data: ImageData, normalise: Normalise, *, only: str | None = None) -> Judgement:
    """Evaluate a model on the validation and the test images, and where there are such on two more splits.

    "swapped_validation" are the validation images that have a mask, with swapped backgrounds;
    "clean_test" the test images without their decoys.

    Args:
        model: the model.
        data: the data set.
        normalise: what the model expects.
        only: evaluate this split alone.

    Returns:
        The answers by split.

    Raises:
        KeyError: the data has no split of the name `only`.
    """
    splits = _splits(data)
    normalise = normalise.to(next(model.parameters(), torch.empty(0)).device)
    wanted = splits if only is None else {only: splits[only]}
    return Judgement({name: evaluate(model, images, normalise=normalise).correct for name, images in wanted.items()})


def judging_split(data: ImageData, judge: str) -> str:
    """Name the split that chooses weights: "swapped_validation" if that is wanted and there are masks for it.

    Example:
        >>> from mamba_mender.data import load_data
        >>> judging_split(load_data("decoy-digits"), "swapped"), judging_split(load_data("digits"), "swapped")
        ('swapped_validation', 'validation')
    """
    return "swapped_validation" if judge == "swapped" and _has_masks(data) else "validation"


def _splits(data: ImageData) -> dict[str, ImageSet]:
    splits: dict[str, ImageSet] = {"validation": data.validation, "test": data.test}
    if _has_masks(data):
        splits["swapped_validation"] = SwappedImages(data.validation)
    if data.clean_test is not None:
        splits["clean_test"] = data.clean_test
    return splits


def _has_masks(data: ImageData) -> bool:
    return int(data.validation.has_mask.sum()) >= 2
