"""The figures of the page, each with its title and its words for those who cannot see it."""

import torch
from torch import Tensor

from mamba_mender._interval import Interval, bootstrap_interval
from mamba_mender.inspection import Diagnosis
from mamba_mender.repair import outside_share, token_mask
from mamba_mender.report.channel_chart import channel_chart
from mamba_mender.report.contents import Contents
from mamba_mender.report.interval_chart import interval_chart
from mamba_mender.report.overlay_sheet import overlay_sheet
from mamba_mender.report.palette import look
from mamba_mender.report.picture import Picture
from mamba_mender.report.places import channel_state, name_state
from mamba_mender.report.score_chart import external_chart, internal_chart, sweep_chart
from mamba_mender.report.sight import Scene, Sight
from mamba_mender.report.training_chart import training_chart
from mamba_mender.report.verdict import percent, points
from mamba_mender.taps import EMBEDDING, StateKey

SHOWN = 3  # easy images on a sheet, and hard ones
BLOCKS = 5  # blocks on a sheet


def make_pictures(contents: Contents) -> tuple[dict[str, Picture], dict[str, str]]:
    """Draw every figure that the run has the data for.

    Args:
        contents: of the run folder.

    Returns:
        Figures by name, and for each other figure's name what is missing for it.
    """
    drawn = {
        "looks": _looks(contents),
        "outside": _outside(contents),
        "after": _after(contents),
        "accuracy": _accuracy(contents),
        "gain": _gain(contents),
        "channels": _channels(contents),
        "external": _external(contents),
        "internal": _internal(contents),
        "sweeps": _sweeps(contents),
        "training": _training(contents),
    }
    pictures = {name: found for name, found in drawn.items() if isinstance(found, Picture)}
    return pictures, {name: found for name, found in drawn.items() if isinstance(found, str)}


def outside_by_arm(contents: Contents) -> dict[str, dict[str, Interval]]:
    """Average, over the easy and over the hard images, the share of each model's effect that lies outside the mask."""
    scene, found = contents.scene, {}
    for arm, sight in contents.sights.items():
        if scene is not None and sight.outside is not None:
            for kind, part in (("easy", sight.outside[: scene.easy]), ("hard", sight.outside[scene.easy :])):
                found.setdefault(kind, {})[arm] = bootstrap_interval(part.numpy())
    return found


def even_share(scene: Scene) -> float | None:
    """Give the share of the images that lies outside their masks: what a model that looks everywhere would have."""
    return None if scene.masks is None else 1 - scene.masks.float().mean().item()


def _looks(contents: Contents) -> Picture | str:
    scene, sight = contents.scene, contents.sights.get("base")
    if scene is None or sight is None or contents.before is None:
        return _no_sight(contents, "the base model")
    rows = pick_rows(scene, contents.before)
    places = sorted(sight.maps)
    inner = [key for key in places if key.block != EMBEDDING]
    step = max(1, -(-len(inner) // BLOCKS))
    kept = [key for key in places if key.block == EMBEDDING] + inner[::-1][::step][::-1]
    columns = {_place(key): sight.maps[key][rows] for key in kept}
    notes = {}
    if sight.effect is not None:
        columns = {"what-if test": sight.effect[rows]} | columns
    if sight.outside is not None:
        notes["what-if test"] = [f"{percent(value)} outside" for value in sight.outside[rows].tolist()]
    elif scene.masks is not None and sight.effect is None:
        notes = {name: _outside_notes(scene.masks[rows], relevance) for name, relevance in columns.items()}
    figure = overlay_sheet(
        scene.images[rows],
        columns,
        rows=_names(contents.before, scene, sight, rows),
        masks=None if scene.masks is None else scene.masks[rows],
        notes=notes,
        groups=_groups(len(rows)),
    )
    whose = "the base model" if contents.arms else "the model"
    alt = f"{len(rows)} images, half easy and half hard for {whose}, with maps of what its answer hangs on."
    if sight.outside is not None:
        alt += f" On these, {percent(sight.outside[rows].mean().item())} of the what-if effect lies outside the mask."
    return Picture.of(figure, f"Where {whose} looks", alt)


def _outside_notes(masks: Tensor, relevance: Tensor) -> list[str]:
    inside = token_mask(masks[:, None], (relevance.shape[1], relevance.shape[2]))
    shares = outside_share(relevance.clamp(min=0).flatten(1), inside)
    return [f"{percent(share, 0)} outside" for share in shares.tolist()]


def _after(contents: Contents) -> Picture | str:
    scene, base = contents.scene, contents.sights.get("base")
    sights = {look(name).label: sight for name, sight in contents.sights.items() if sight.effect is not None}
    if scene is None or base is None or contents.before is None or len(sights) < 2:
        return _no_sight(contents, "the models after training")
    rows = pick_rows(scene, contents.before)
    effects = {name: sight.effect[rows] for name, sight in sights.items() if sight.effect is not None}
    notes = {
        name: [
            ("right" if right else "wrong") + ("" if sight.outside is None else f", {percent(outside, 0)} out")
            for right, outside in zip(
                (sight.answers == scene.labels)[rows].tolist(),
                ([0.0] * len(rows) if sight.outside is None else sight.outside[rows].tolist()),
                strict=True,
            )
        ]
        for name, sight in sights.items()
    }
    figure = overlay_sheet(
        scene.images[rows],
        effects,
        rows=[contents.before.classes[label] for label in scene.labels[rows].tolist()],
        masks=None if scene.masks is None else scene.masks[rows],
        notes=notes,
        groups=_groups(len(rows)),
    )
    alt = f"The same {len(rows)} images, with the what-if map of each model: {', '.join(sights)}."
    return Picture.of(figure, "The same images, after each kind of training", alt)


def _outside(contents: Contents) -> Picture | str:
    shares = outside_by_arm(contents)
    if not shares or contents.scene is None:
        return "how much falls outside the masks, because the images have no masks or the models are not there."
    even = even_share(contents.scene)
    titles = {"easy": "Easy images", "hard": "Hard images"}
    panels = {titles[kind]: found for kind, found in shares.items()}
    bound = None if even is None else {title: (even, "evenly spread") for title in panels}
    figure = interval_chart(panels, "share of the effect outside the mask, %", bound=bound)
    told = "; ".join(f"{look(arm).label} {percent(value.mean)}" for arm, value in shares["hard"].items())
    return Picture.of(figure, "How much of the answer hangs on the wrong part", f"On hard images: {told}.")


def _accuracy(contents: Contents) -> Picture | str:
    panels, bound = {}, {}
    for split, title in (("test", "Test"), ("clean_test", "Clean test")):
        found = {name: arm.accuracy[split] for name, arm in contents.arms.items() if split in arm.accuracy}
        if found:
            clean = found.pop("clean", None)
            panels[title] = found
            if clean is not None:
                bound[title] = (clean.mean, "trained on clean images")
    if not panels:
        return "accuracies, because no arm is finished."
    figure = interval_chart(panels, "right answers, %", bound=bound or None)
    told = "; ".join(f"{look(arm).label} {percent(value.mean)}" for arm, value in next(iter(panels.values())).items())
    return Picture.of(figure, "Right answers", f"Right answers on test images: {told}.")


def _gain(contents: Contents) -> Picture | str:
    panels = {}
    for split, title in (("test", "Test"), ("clean_test", "Clean test")):
        found = {n: a.gain[split] for n, a in contents.arms.items() if split in a.gain and n not in ("base", "clean")}
        if found:
            panels[title] = found
    if not panels:
        return "gains over the control, because the control or every other arm is missing."
    figure = interval_chart(panels, "gain over the control, percentage points", zero=True)
    told = "; ".join(f"{look(arm).label} {points(value.mean)}" for arm, value in next(iter(panels.values())).items())
    return Picture.of(figure, "Gain over the control", f"Gain on test images, in points: {told}.")


def _channels(contents: Contents) -> Picture | str:
    before, after = contents.before, contents.after
    if before is None:
        return "internal correlations, because the base was not diagnosed."
    key = channel_state(before)
    name = "Base, " if contents.arms else ""
    panels = {f"{name}easy images": before.easy, f"{name}hard images": before.hard}
    if after is not None and contents.chosen is not None and key in after.easy.vectors:
        label = look(contents.chosen.name).label
        panels |= {f"{label}, easy images": after.easy, f"{label}, hard images": after.hard}
    classes = len(before.classes)
    vectors = {title: group.vectors[key].unflatten(0, (classes, -1)) for title, group in panels.items()}
    figure = channel_chart(vectors, before.classes)
    alt = f"Heat maps of how much each channel of the {name_state(key)} matters: {', '.join(panels)}."
    return Picture.of(figure, f"Channels of the {name_state(key)}, image by image", alt)


def _external(contents: Contents) -> Picture | str:
    if contents.before is None:
        return "external scores, because the base was not diagnosed."
    figure = external_chart(contents.before, contents.after)
    alt = "External scores over the blocks, easy against hard images" + _and_after(contents)
    return Picture.of(figure, "External scores over the blocks", alt)


def _internal(contents: Contents) -> Picture | str:
    if contents.before is None:
        return "internal scores, because the base was not diagnosed."
    figure = internal_chart(contents.before, contents.after)
    if figure is None:
        return "internal scores, because the state x was not diagnosed."
    alt = "Simplicity and homogeneity of the state x over the blocks, easy against hard images" + _and_after(contents)
    return Picture.of(figure, "Internal scores of the state x over the blocks", alt)


def _sweeps(contents: Contents) -> Picture | str:
    if contents.before is None:
        return "sweeps over the thresholds, because the base was not diagnosed."
    figure = sweep_chart(contents.before, contents.after, channel_state(contents.before))
    alt = "Scores as the thresholds alpha and beta go from 0.1 to 0.9, easy against hard images" + _and_after(contents)
    title = "Scores at other thresholds"
    if not contents.before.easy.alpha_sweep:
        title += " (beta only: the maps were not scored at other alphas in this run)"
    return Picture.of(figure, title, alt)


def _training(contents: Contents) -> Picture | str:
    histories = {name: arm.results[0].history for name, arm in contents.arms.items() if name not in ("base", "clean")}
    figure = training_chart(histories)
    if figure is None:
        return "training curves, because no arm kept its metrics."
    return Picture.of(figure, "Training curves", f"Losses over the steps of training of {', '.join(histories)}.")


def pick_rows(scene: Scene, diagnosis: Diagnosis) -> list[int]:
    """Pick the images to show by a rule, not by eye: of each class the extremest, then the extremest of those."""
    each = scene.easy // len(diagnosis.classes)
    leaders = torch.arange(len(diagnosis.classes))
    easy = diagnosis.easy.confidence[leaders * diagnosis.count].argsort(descending=True)[:SHOWN] * each
    hard = diagnosis.hard.confidence[leaders * diagnosis.count].argsort()[:SHOWN] * each + scene.easy
    return [*easy.tolist(), *hard.tolist()]


def _groups(count: int) -> list[tuple[str, int]]:
    return [
        ("Easy images: the model is surest of the right class", count // 2),
        ("Hard images: it is least sure", count // 2),
    ]


def _names(diagnosis: Diagnosis, scene: Scene, sight: Sight, rows: list[int]) -> list[str]:
    classes = diagnosis.classes
    pairs = zip(scene.labels[rows].tolist(), sight.answers[rows].tolist(), strict=True)
    return [_short(classes[own]) + ("" if own == said else f"\nsays {_short(classes[said])}") for own, said in pairs]


def _short(name: str) -> str:
    return name if len(name) <= 12 else name[:11] + "\N{HORIZONTAL ELLIPSIS}"


def _place(key: StateKey) -> str:
    return "embedding" if key.block == EMBEDDING else f"block {key.block}"


def _and_after(contents: Contents) -> str:
    return ", for the base alone." if contents.after is None else ", before and after mending."


def _no_sight(contents: Contents, whose: str) -> str:
    if contents.before is None:
        return f"what {whose} looks at, because the base was not diagnosed."
    return f"what {whose} looks at, because the weights are not in the folder 'models'."
