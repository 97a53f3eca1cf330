"""How much the base's flaw costs, in right answers."""

from dataclasses import dataclass
from typing import Literal

from mamba_mender._interval import Interval, paired_gain
from mamba_mender.report.contents import Contents


@dataclass(frozen=True)
class Flaw:
    """What the base loses by its flaw.

    kind: "patch": on test images whose patch lies, against the same recipe trained on clean images;
        "background": on validation images that get another image's background, against the same images as they are.
    loss: difference of the two shares of right answers, negative where the base loses, with its interval.
    with_cue, without: the two shares: validation and test accuracy, or validation accuracy before and after.
    reference: the accuracy of the model trained on clean images; None without one.
    """

    kind: Literal["patch", "background"]
    loss: Interval
    with_cue: Interval
    without: Interval
    reference: float | None = None

    @property
    def shown(self) -> bool:
        """Whether a flaw was shown beyond chance.

        For patches: right more often where the patch tells the truth than where it is random, with intervals that
        do not meet, and worse than after clean training. For backgrounds: worse with another image's background.
        """
        depends = self.kind == "background" or self.with_cue.low > self.without.high
        return depends and self.loss.high < 0


def find_flaw(contents: Contents) -> Flaw | None:
    """Measure what the base loses by its flaw, image by image.

    Args:
        contents: of the run folder.

    Returns:
        The flaw; None where it cannot be measured: without a base, and without masks or clean images.
    """
    if "base" not in contents.arms:
        return None
    base = contents.arms["base"]
    accuracy = base.accuracy
    own = {split: seen.numpy() for split, seen in base.results[0].correct(contents.folder).items()}
    if "clean" in contents.arms and "test" in own:
        clean = contents.arms["clean"].results[0].correct(contents.folder)["test"].numpy()
        reference = contents.arms["clean"].accuracy["test"].mean
        return Flaw("patch", paired_gain([own["test"]], [clean]), accuracy["validation"], accuracy["test"], reference)
    if "swapped_validation" in own and len(own["swapped_validation"]) == len(own["validation"]):
        loss = paired_gain([own["swapped_validation"]], [own["validation"]])
        return Flaw("background", loss, accuracy["validation"], accuracy["swapped_validation"])
    return None
