"""The words of the page that depend on the run: the cards at its head, and the sentences of each section."""

from dataclasses import dataclass, field

from mamba_mender._interval import bootstrap_interval
from mamba_mender.inspection import Diagnosis
from mamba_mender.repair import Arm
from mamba_mender.report.contents import Contents
from mamba_mender.report.flaw import Flaw, find_flaw
from mamba_mender.report.palette import look
from mamba_mender.report.pictures import even_share, outside_by_arm
from mamba_mender.report.places import channel_state, name_state
from mamba_mender.report.verdict import percent, points, verdict


@dataclass(frozen=True)
class Card:
    """One of the three answers at the head of the page.

    question: such as "Did it help?". number, unit: the answer in a number. answer: the same in a sentence.
    tone: "good", "bad", "open" or "".
    """

    question: str
    number: str
    unit: str
    answer: str
    tone: str = ""


@dataclass(frozen=True)
class Story:
    """What the page says in words.

    title, lead: of the page. cards: three. wrong, changed, helped: sentences of the three main sections.
    training: what the arms have in common, and what not.
    """

    title: str
    lead: str
    cards: list[Card]
    wrong: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    helped: list[str] = field(default_factory=list)
    training: str = ""


def tell_story(contents: Contents) -> Story:
    """Put a run into words.

    Args:
        contents: of the run folder.

    Returns:
        Title, cards and sentences; where something was not measured, they say so.
    """
    if not contents.arms and contents.before is not None:
        return _diagnosis_story(contents.before)
    data = contents.settings.get("data", {}).get("name", "an unnamed data set")
    chosen = contents.chosen
    lead = "A small vision network was trained, its flaw was looked for, and several ways of mending it were compared."
    if contents.settings.get("model"):
        lead = (
            "A trained vision network was given, its flaw was looked for, and several ways of mending it were compared."
        )
    if chosen is None:
        lead = "A vision network was trained and looked into; nothing has been mended yet."
    cards = [_wrong_card(contents), _changed_card(contents), _helped_card(contents)]
    title, training = f"Mending a Mamba model on {data}", _training(contents)
    return Story(title, lead, cards, _wrong(contents), _changed(contents), _helped(contents), training)


def _diagnosis_story(found: Diagnosis) -> Story:
    """Word a diagnosis on its own, with nothing mended."""
    name = "these images" if found.accuracy is None else f"the {found.split} images"
    right = found.accuracy
    if right is None:
        groups = (found.easy, found.hard)
        right = sum(float((group.predictions == group.labels).double().mean()) for group in groups) / 2
    answer = f"Right answers on {name}. The page shows the {found.count} easiest and hardest of each class."
    cards = [Card("How often is it right?", percent(right), "", answer), _look_card(found), _agree_card(found)]
    lead = "A vision network was looked into: where in the images its answers come from, and which channels carry them."
    return Story(f"What a Mamba model looks at on {found.data}", lead, cards)


def _look_card(found: Diagnosis) -> Card:
    question = "Where does it look?"
    key = min(found.easy.external)  # as near to the image as was recorded
    easy, hard = found.easy.external[key], found.hard.external[key]
    if found.hard.masks is None or hard.outside is None or easy.outside is None or hard.background is None:
        told = f"Share of a hard image that is marked; of an easy one {percent(easy.coverage, 0)}. There are no masks."
        return Card(question, percent(hard.coverage, 0), "", told)
    told = (
        f"Share of the relevance that lies outside the masks on hard images; on easy ones {percent(easy.outside, 0)}, "
        f"spread evenly {percent(hard.background, 0)}."
    )
    tone = "bad" if hard.outside > 1.5 * hard.background else ""  # an even map proves nothing, so it is never "good"
    return Card(question, percent(hard.outside, 0), "", told, tone)


def _agree_card(found: Diagnosis) -> Card:
    key = channel_state(found)
    easy, hard = (group.internal[key].homogeneity.double().mean().item() for group in (found.easy, found.hard))
    told = f"Agreement of the images of a class on their channels, for easy and for hard ones ({name_state(key)})."
    return Card("Does it use the same channels?", f"{easy:.2f} | {hard:.2f}", "", told)


def _part(contents: Contents) -> str:
    """Name what lies outside the masks."""
    return "the planted patch" if contents.decoyed else "the background"


def _wrong_card(contents: Contents) -> Card:
    question, flaw, base = "What was wrong?", find_flaw(contents), contents.arms.get("base")
    if base is None:
        return Card(question, "?", "", "The base model has no results in this run.")
    if flaw is None:
        told = "The base's wrong answers on test images. Without masks there is no right place to compare with."
        return Card(question, percent(1 - base.accuracy["test"].mean), "", told)
    if flaw.kind == "patch":
        told = (
            f"The base is right on {percent(flaw.with_cue.mean)} of images whose patch tells the truth, but on "
            f"{percent(flaw.without.mean)} where the patch is random. The same recipe on clean images, one seed, is "
            f"right on {percent(flaw.reference or 0.0)}."
        )
    else:
        told = (
            f"The base is right on {percent(flaw.with_cue.mean)} of held-out images, but on "
            f"{percent(flaw.without.mean)} when they get the background of another image."
        )
    if flaw.shown:
        return Card(question, points(flaw.loss.mean), "points", told, "bad")
    return Card(question, points(flaw.loss.mean), "points", f"No flaw was shown. {told}", "open")


def _changed_card(contents: Contents) -> Card:
    question, chosen, scene = "What changed?", contents.chosen, contents.scene
    if chosen is None:
        return Card(question, "\N{EN DASH}", "", "No arm with a constraint has finished, so nothing was mended.")
    before, after = contents.sights.get("base"), contents.sights.get(chosen.name)
    if scene is None or before is None or after is None or before.outside is None or after.outside is None:
        return Card(question, "?", "", "Where the models look was not measured: there are no masks, or no diagnosis.")
    old, new = before.outside[scene.easy :], after.outside[scene.easy :]
    change = bootstrap_interval((new - old).numpy())
    digits = 0 if min(old.mean(), new.mean()) >= 0.1 else 1
    number = f"{100 * old.mean():.{digits}f} \N{RIGHTWARDS ARROW} {100 * new.mean():.{digits}f}"
    told = f"On hard images, the share of the answer that hangs on {_part(contents)}, before and after mending."
    if change.contains(0):
        told += " The change is within what chance explains."
    tone = "good" if change.high < 0 else "bad" if change.low > 0 else "open"
    return Card(question, number, "%", told, tone)


def _helped_card(contents: Contents) -> Card:
    question, chosen = "Did it help?", contents.chosen
    if chosen is None or "test" not in chosen.gain:
        why = "nothing was mended" if chosen is None else "there is no control to compare with"
        return Card(question, "?", "", f"It cannot be said: {why}.")
    found = verdict(chosen.gain["test"])
    told = f"{found.sentence} ({look(chosen.name).label}, new test images.)"
    return Card(question, points(chosen.gain["test"].mean), "points", told, found.tone)


def _wrong(contents: Contents) -> list[str]:
    told, flaw = [], find_flaw(contents)
    if contents.decoyed:
        told.append(
            "Each training image carries a grey patch in a corner, whose shade gives the class away. A model that "
            "reads the patch need not learn what the images show. At test time the shade is random, and it fails."
        )
    if flaw is not None:
        told.append(_cost(flaw))
    hard, scene = outside_by_arm(contents).get("hard", {}), contents.scene
    if "base" in hard and scene is not None and (even := even_share(scene)) is not None:
        share = hard["base"].mean
        times = share / even if even else 0.0
        told.append(
            f"The what-if test asks the model itself: one window of the image after another is replaced by the same "
            f"window of other images, and the change of the answer is measured. On hard images {percent(share)} of "
            f"that effect comes from {_part(contents)}, which makes up {percent(even)} of the picture: "
            f"{times:.1f} times its share."
        )
    if not told:
        told.append("The maps show which parts of an image the base model's answer hangs on.")
    return told


def _cost(flaw: Flaw) -> str:
    """Say what the flaw costs in right answers, or that none was shown."""
    lost, low, high = (f"{-100 * end:.1f}" for end in (flaw.loss.mean, flaw.loss.high, flaw.loss.low))
    other = "the same recipe on clean images" if flaw.kind == "patch" else "on the images as they are"
    where = "on test images" if flaw.kind == "patch" else "on images with another image's background"
    if flaw.shown:
        return f"The flaw costs right answers: {where} the base has {lost} points fewer than {other} ({low} to {high})."
    told = f"No flaw was shown: {where} the base has {lost} points fewer than {other} ({low} to {high})"
    if flaw.kind == "patch":
        told += f", and is right on {percent(flaw.with_cue.mean)} where the patch tells the truth against "
        told += f"{percent(flaw.without.mean)} where the patch is random"
    return f"{told}; that is not beyond chance in every respect.".replace("-", "\N{MINUS SIGN}")


def _changed(contents: Contents) -> list[str]:
    chosen = contents.chosen
    if chosen is None:
        return ["Nothing was mended in this run."]
    weights = ", ".join(f"{name} {value:g}" for name, value in chosen.results[0].weights.items())
    if weights:
        weights += ", chosen on validation images" if chosen.results[0].selection else ", fixed beforehand"
    told = [
        *_constraints(contents),
        f"Of the mended models, {look(chosen.name).label} did best on validation images (never on test images) and is "
        f"the one meant by \N{LEFT DOUBLE QUOTATION MARK}mended\N{RIGHT DOUBLE QUOTATION MARK} below"
        + (f"; weights of its losses: {weights}." if weights else "."),
    ]
    return told


def _constraints(contents: Contents) -> list[str]:
    """Say what the constraints ask for, as the run's measure has it."""
    control = (
        "The control trains on for equally many steps without any constraint, so that more training is not mistaken "
        "for mending."
    )
    if contents.settings.get("config", {}).get("measure") != "path":
        return [
            "Mending trains the model on, with a constraint: what its states say must come from the object (external), "
            f"and from the channels that easy images of the class use (internal). {control}"
        ]
    return [
        "Mending trains the model on, with a constraint. External: the answer must not move when only the background "
        "changes. On the way from an image to the same image with another background, at a random place, the loss is "
        "the square of how fast the predicted log-probability moves, measured at the embedding. Internal: the answer "
        f"must come from the channels that easy images of the class use. {control}"
    ]


def _training(contents: Contents) -> str:
    """Say what all arms share, and what some see or take beyond that."""
    arms, config = contents.arms, contents.settings.get("config", {})
    told = "Every arm starts from the same base and takes equally many steps on the same batches; the loss differs."
    if masked := [look(name).label for name in ("ext", "all", "swap") if name in arms]:
        size = config.get("masked_batch_size")
        batch = "a batch of masked images" if size is None else f"a batch of {size} masked images"
        told += f" Of the arms, {', '.join(masked)} also see {batch} in each step, which the others do not."
    if "control-time" in arms:
        steps = max(result.steps for result in arms["control-time"].results)
        label = look("control-time").label
        told += f" {label} takes other steps: {steps}, as many as fit in the time of the slowest mended arm."
    return told


def _helped(contents: Contents) -> list[str]:
    chosen, told = contents.chosen, []
    if chosen is not None:
        for split, name in (("test", "test images"), ("clean_test", "test images without any patch")):
            if split in chosen.gain:
                told.append(f"On {name}, {_lower(verdict(chosen.gain[split]).sentence)}")
    told += _compare(contents)
    seeds, few = (0, "") if chosen is None else _seeds(contents, chosen)
    if seeds == 1:
        told.append(
            f"One seed only{few}: the intervals cover the luck of the test images, but not that of training. Run "
            "more seeds before you trust a small gain."
        )
    elif 1 < seeds < 5:
        told.append(
            f"{seeds} seeds{few} say little about the luck of training: read the intervals as the least doubt there is."
        )
    return told


def _seeds(contents: Contents, chosen: Arm) -> tuple[int, str]:
    """Count the seeds that the chosen arm's gain rests on; name the arm where others have another number."""
    least, most = contents.seeds
    seeds = {result.seed for result in chosen.results}
    if "control" in contents.arms:
        seeds &= {result.seed for result in contents.arms["control"].results}
    return len(seeds), "" if least == most else f" of {look(chosen.name).label} and the control"


def _compare(contents: Contents) -> list[str]:
    """Set the chosen arm beside the base, the cheap rival and training on clean images."""
    chosen, arms, told = contents.chosen, contents.arms, []
    if chosen is None:
        return told
    own = chosen.accuracy["test"].mean
    label = look(chosen.name).label
    if {"base", "clean"} <= set(arms):
        base, clean = arms["base"].accuracy["test"].mean, arms["clean"].accuracy["test"].mean
        if clean > base:
            told.append(
                f"Of the way from the base ({percent(base)}) to a model trained on images without patches "
                f"({percent(clean)}), {label} went {percent((own - base) / (clean - base), 0)}."
            )
        else:
            told.append(
                f"Training on images without patches is no better ({percent(clean)}), so there was little to mend."
            )
    if "swap" in arms:
        swap = arms["swap"].accuracy["test"].mean
        how = "less than" if swap < own else "more than" if swap > own else "the same as"
        told.append(
            f"The cheap rival with the same masks, swapping backgrounds, reaches {percent(swap)}, {how} {label} "
            f"({percent(own)})."
        )
    return told


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
