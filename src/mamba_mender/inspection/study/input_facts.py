"""What an input is and what the model says about it, kept so that the page can be made without the model."""

from dataclasses import dataclass

from torch import Tensor

from mamba_mender.inspection.result import Result
from mamba_mender.inspection.study.sample import Sample

LIKELIEST = 5


@dataclass(frozen=True)
class InputFacts(Result):
    """One input and its prediction.

    kind: "text" or "image".
    name: of the input.
    words: its tokens as they are shown, for a text.
    pixels: the image, uint8, (channels, height, width), or None.
    truth: its class, or the token that follows, where that is known.
    grid: rows and columns of the image's tokens, or None.
    class_token: where among the tokens the class token lies, or None.
    likeliest: the classes or tokens that the model thinks likeliest, best first.
    probabilities: of these, (likeliest).
    """

    kind: str
    name: str
    words: tuple[str, ...]
    pixels: Tensor | None
    truth: str | None
    grid: tuple[int, int] | None
    class_token: int | None
    likeliest: tuple[str, ...]
    probabilities: Tensor


def input_facts(sample: Sample) -> InputFacts:
    """Predict, and gather what the page says about an input.

    Raises:
        ValueError: the prediction is not finite.
    """
    given, model = sample.given, sample.model
    best = sample.logits.softmax(0).topk(min(LIKELIEST, len(sample.logits)))
    grid = getattr(model, "grid", None)
    return InputFacts(
        kind=sample.subject.kind,
        name=given.name,
        words=given.words,
        pixels=given.pixels,
        truth=given.truth,
        grid=None if grid is None else (int(grid[0]), int(grid[1])),
        class_token=getattr(model, "class_token_index", None),
        likeliest=tuple(sample.subject.word(number) for number in best.indices.tolist()),
        probabilities=best.values.cpu(),
    )
