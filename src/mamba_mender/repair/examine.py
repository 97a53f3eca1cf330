"""Look at the states before and after mending, on the same images."""

from pathlib import Path

from mamba_mender.data import ImageData
from mamba_mender.inspection.diagnose import diagnose
from mamba_mender.inspection.diagnosis import Diagnosis
from mamba_mender.models import load_model
from mamba_mender.repair.mend import MendResult

AFTER = "mended"  # the folder of the second diagnosis, in the run folder


def examine(
    result: MendResult, data: ImageData, *, split: str = "train", count: int = 10, progress: bool = False
) -> tuple[Diagnosis, Diagnosis | None]:
    """Diagnose the base, then the chosen arm on the base's easy and hard images, and save both.

    The base's diagnosis goes into the run folder itself, the other into its folder "mended".

    Args:
        result: what :func:`mamba_mender.repair.mend` gave.
        data: the data set.
        split: the images to look at: "train", "validation" or "test".
        count: easy images of each class, and hard ones; fewer where a class is small.
        progress: show a bar.

    Returns:
        The two diagnoses; None for the second if nothing was mended.

    Raises:
        UserError: a class has fewer than two images in the split.
    """
    out, base = Path(result.out), result.base
    labels = getattr(data, split).labels
    smallest = min(int((labels == number).sum()) for number in range(len(data.classes)))
    settings = {"split": split, "sweep": ("last.s",), "mean": base.mean, "std": base.std, "progress": progress}
    before = diagnose(load_model(base.path), data, count=max(1, min(count, smallest // 2)), **settings)
    before.save(out)
    if result.chosen is None:
        return before, None
    after = diagnose(load_model(result.model_path), data, like=before, **settings)
    after.save(out / AFTER)
    return before, after
