"""Diagnose the states of a model: where it looks and which channels it uses, on easy and on hard samples."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError, nearest
from mamba_mender.data import ImageData, ImageSet, Normalise
from mamba_mender.inspection.correlation_target import Target
from mamba_mender.inspection.diagnosis import Diagnosis
from mamba_mender.inspection.external_score import Space
from mamba_mender.inspection.measure import Rules, measure_group, together
from mamba_mender.inspection.progress import ImageBar
from mamba_mender.inspection.samples import check_counts, select_samples
from mamba_mender.inspection.sign import Sign
from mamba_mender.inspection.sweep import THRESHOLDS
from mamba_mender.nn.mode import in_mode
from mamba_mender.taps import EMBEDDING, STATES, StateKey, find_states, record

SPLITS = ("train", "validation", "test")
SHARED = ("mean", "std", "grid", "class_token", "token", "alpha", "beta", "sign", "average_gradient", "target", "space")
FEATURE_LIMIT = 2 * 2**30  # bytes of kept features in one group


def diagnose(
    model: nn.Module,
    data: ImageData,
    *,
    split: str = "train",
    count: int = 10,
    alpha: float = 0.5,
    beta: float = 0.3,
    states: Collection[str] = STATES,
    blocks: Collection[int] | None = None,
    sign: Sign = "rectified-product",
    average_gradient: bool = True,
    target: Target = "probability",
    space: Space = "normalised",
    features: Sequence[str] | None = None,
    sweep: Sequence[str] = (),
    like: Diagnosis | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int = 32,
    progress: bool = False,
) -> Diagnosis:
    """Correlate the states of a model with its predictions, and score what comes out.

    The model runs once over the split to find each class's easy and hard samples. Those are
    recorded once, activations and gradients in one pass, and each state's map and vector are
    scored, block by block. The model, its mode and its gradients are left as they were.

    Args:
        model: a classifier of this package.
        data: the images.
        split: "train", "validation" or "test".
        count: easy samples per class, and hard ones.
        alpha: threshold of the maps, in [0, 1).
        beta: threshold of the vectors, in [0, 1).
        states: the letters to look at; "h" includes the embedding.
        blocks: the blocks to look at, -1 for the embedding; None takes all.
        sign: the sign rule of both correlations.
        average_gradient: whether maps average the gradient over tokens, as the paper defines them; without,
            they tell which of equal tokens is read, and find a planted decoy more often in early blocks.
        target: what is differentiated.
        space: what the perturbation test paints hidden parts with.
        features: states whose activations and gradients are kept whole, named as in
            :func:`mamba_mender.taps.find_states`; None keeps the embedding and the last block's x, c and s.
            What states and blocks leave out is not kept.
        sweep: states whose maps are scored at several thresholds, both directions together, e.g. "last.s".
        like: an earlier diagnosis whose samples are taken again, to compare before and after.
        mean, std: what the model was trained with; the data's if omitted.
        batch_size: images at once; lower it when memory is short.
        progress: whether to show a bar, after two seconds.

    Returns:
        The diagnosis, all tensors on the CPU.

    Raises:
        UserError: model and data do not fit, a class has too few samples, or the features are too large.
        ValueError: a setting is unknown or out of range.

    Source: Vision Mamba Mender (NeurIPS 2024); steps 2 to 6 of its code's pipeline in one pass.
    """
    _check_choices(split=((split,), SPLITS), states=(states, STATES), sign=((sign,), get_args(Sign)))
    _check_choices(target=((target,), get_args(Target)), space=((space,), get_args(Space)))
    _check_thresholds(alpha=alpha, beta=beta)
    images: ImageSet = getattr(data, split)
    keys = [key for key in find_states(model) if key.state in states and (blocks is None or key.block in blocks)]
    if not keys:
        raise UserError(f"diagnose: blocks {blocks} of this model have no state {sorted(states)}; name others.")
    kept = _default_features(keys) if features is None else find_states(model, features)
    class_token = _fact(model, "class_token_index")
    rules = Rules(
        keys=keys,
        features=[key for key in kept if key in keys],
        sweep=list(dict.fromkeys(together(key) for key in find_states(model, sweep) if key in keys)),
        grid=_fact(model, "grid"),
        class_token=class_token,
        token="mean" if class_token is None else class_token,
        alpha=alpha,
        beta=beta,
        sign=sign,
        average_gradient=average_gradient,
        target=target,
        space=space,
        mean=list(mean or data.mean),
        std=list(std or data.std),
        thresholds=THRESHOLDS,
        batch_size=batch_size,
    )
    _check_fit(model, data, images, like, split)
    if like is None:
        check_counts(images.labels, len(data.classes), count, where="diagnose")
    return _diagnose(model, data, split, rules, count, like, progress)


def _diagnose(
    model: nn.Module,
    data: ImageData,
    split: str,
    rules: Rules,
    count: int,
    like: Diagnosis | None,
    progress: bool,
) -> Diagnosis:
    """Select the samples, unless they are given, and measure both groups."""
    images: ImageSet = getattr(data, split)
    samples = len(data.classes) * count if like is None else len(like.easy.indices)
    with (
        in_mode(model, training=False),
        ImageBar("diagnose", _total(images, samples, rules, like), shown=progress) as bar,
    ):
        _check_size(model, images, samples, rules)
        if like is None:
            probabilities = _probabilities(model, images, rules, bar.advance)
            selected = select_samples(probabilities, images.labels, count)
            accuracy = (probabilities.argmax(1) == images.labels).double().mean().item()
            indices = [selected.easy.flatten(), selected.hard.flatten()]
        else:
            indices, accuracy, count = [like.easy.indices, like.hard.indices], None, like.count
        easy, hard = (measure_group(model, images, part, rules, bar.advance) for part in indices)
    return Diagnosis(
        data=data.name,
        split=split,
        classes=list(data.classes),
        count=count,
        accuracy=accuracy,
        easy=easy,
        hard=hard,
        **{name: getattr(rules, name) for name in SHARED},
    )


def _fact(model: nn.Module, name: str) -> Any:
    """Read what every classifier of the package says of itself."""
    return getattr(model, name)


def _default_features(keys: Sequence[StateKey]) -> list[StateKey]:
    """Keep what repair works on: the embedding, and x, c and s of the last block."""
    last = max(key.block for key in keys)
    return [key for key in keys if key.block == EMBEDDING or (key.block == last and key.state in "xcs")]


def _total(images: ImageSet, samples: int, rules: Rules, like: Diagnosis | None) -> int:
    """Count the images of all passes; a recorded pass, forward and backward, counts three times."""
    maps = len({together(key) for key in rules.keys}) + len(rules.sweep) * len(rules.thresholds)
    return (len(images) if like is None else 0) + 2 * samples * (3 + 2 * maps)


@torch.no_grad()
def _probabilities(model: nn.Module, images: ImageSet, rules: Rules, count_images: Callable[[int], None]) -> Tensor:
    """Run the model over the whole split; (images, classes), float64."""
    device = next(model.parameters()).device
    normalise = Normalise(rules.mean, rules.std).to(device)
    found = []
    for part in torch.arange(len(images)).split(rules.batch_size):
        found.append(model(normalise(images.batch(part).images.to(device))).double().softmax(1).cpu())
        count_images(len(part))
    return torch.cat(found)


def _check_choices(**choices: tuple[Collection[str], Collection[str]]) -> None:
    """Refuse names that are unknown, before anything runs."""
    for what, (given, known) in choices.items():
        for name in given:
            if name not in known:
                raise UserError(f"diagnose: no {what} {name!r}; {nearest(name, known)}.")


def _check_thresholds(**thresholds: float) -> None:
    for name, value in thresholds.items():
        if not 0 <= value < 1:
            raise UserError(f"diagnose: {name} must lie in [0, 1), got {value}.")


def _check_fit(model: nn.Module, data: ImageData, images: ImageSet, like: Diagnosis | None, split: str) -> None:
    """Refuse a model that was made for other data, with words, before anything runs."""
    pairs = (
        ("classes", _fact(model, "num_classes"), len(data.classes)),
        ("image channels", _fact(model, "in_chans"), data.channels),
        ("pixels in height and width", tuple(_fact(model, "img_size")), tuple(data.img_size)),
    )
    for what, has, needs in pairs:
        if has != needs:
            raise UserError(f"diagnose: the model takes {has} {what}, but {data.name} has {needs}; give data that fit.")
    if len(images) == 0:
        raise UserError(f"diagnose: the split {split!r} of {data.name} has no images; name another.")
    if like is None:
        return
    if (like.data, like.split) != (data.name, split):
        raise UserError(
            f"diagnose: like is about the {like.split} images of {like.data}, not the {split} images of {data.name}."
        )
    indices = torch.cat([like.easy.indices, like.hard.indices])
    labels = torch.cat([like.easy.labels, like.hard.labels])
    if int(indices.max()) >= len(images) or not torch.equal(images.labels[indices], labels):
        raise UserError("diagnose: like is about other images of this name; load the data with the same settings.")


@torch.no_grad()
def _check_size(model: nn.Module, images: ImageSet, samples: int, rules: Rules) -> None:
    """Run one image, and refuse features that would not fit in memory."""
    if not rules.features:
        return
    device = next(model.parameters()).device
    letters, blocks = {key.state for key in rules.features}, {key.block for key in rules.features}
    with record(model, letters, scans=False, blocks=blocks) as run:
        model(Normalise(rules.mean, rules.std).to(device)(images.batch(torch.tensor([0])).images.to(device)))
    bytes_each = 2 * sum(run.states[key].nbytes for key in rules.features)
    if bytes_each * samples > FEATURE_LIMIT:
        raise UserError(
            f"diagnose: the features of {samples} samples take {bytes_each * samples / 2**30:.1f} GiB, above "
            f"{FEATURE_LIMIT / 2**30:g}; keep fewer (--features {rules.features[0]}, or none), or lower --count."
        )
