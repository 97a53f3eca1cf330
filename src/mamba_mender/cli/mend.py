"""`mamba-mender mend`: find the flaw in a model's states, mend it, and prove it against a control."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from mamba_mender.data import ImageData
    from mamba_mender.repair import ArmResult, MendConfig, MendResult

EXAMPLE = "mamba-mender mend --data decoy-digits --out runs/mend"
SPLITS = {"test": "test", "clean_test": "clean test", "swapped_validation": "swapped validation"}
LABELS = {"base": "base", "control": "control", "control-time": "control, equal time", "swap": "background swap"}
LABELS |= {"ext": "+Ext", "int": "+Int", "all": "+All", "clean": "trained on clean"}


Data = Annotated[str, typer.Option(help="A data set's name, or a folder of images or IDX files.")]
Model = Annotated[str | None, typer.Option(help="A trained model's file, or the name of a model to train first.")]
Masks = Annotated[
    str | None, typer.Option(help="Foreground masks: a folder, 'otsu', 'nonzero' or 'none'. [default: by data]")
]
MaskShare = Annotated[float, typer.Option(help="Share of the training images that keep their mask.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use at most this many training images.")]
Side = Annotated[int | None, typer.Option(min=1, help="Scale images to this side, in pixels.")]
Arms = Annotated[str | None, typer.Option(help="With commas: control, swap, ext, int, all, control-time.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="How many seeds each arm is trained with.")]
Steps = Annotated[int | None, typer.Option(help="Steps of each arm.")]
BaseSteps = Annotated[int | None, typer.Option(help="Steps of the base, when it is trained.")]
BatchSize = Annotated[int | None, typer.Option(help="Images in a step.")]
MaskedBatchSize = Annotated[
    int | None, typer.Option(min=1, help="Images with a mask in a step, beside the batch; lower it if memory runs out.")
]
Rate = Annotated[float | None, typer.Option(help="Peak learning rate of the arms.")]
External = Annotated[str | None, typer.Option(help="States under the external constraint: embedding, last.c, *.s ...")]
Internal = Annotated[str | None, typer.Option(help="States under the internal constraint, such as last.x.")]
Measure = Annotated[
    Literal["path", "share", "channel-share", "gradient-share", "paper", "authors", "squared-gradient"] | None,
    typer.Option(
        help="How the external constraint measures what rests on the background. path: along the way to another "
        "background, at the embedding; the others: at the states named by --external. [default: path; share where "
        "--external names other states]"
    ),
]
Weight = Annotated[
    str | None, typer.Option(help="A weight, or 'auto': chosen on validation images. [default: by data]")
]
Detach = Annotated[bool, typer.Option("--detach-gradient", help="First order only: faster but weaker.")]
Out = Annotated[Path, typer.Option(help="The run folder.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


def mend(
    data: Data = "decoy-digits",
    model: Model = None,
    masks: Masks = None,
    mask_share: MaskShare = 1.0,
    limit: Limit = None,
    img_size: Side = None,
    arms: Arms = None,
    seeds: Seeds = None,
    steps: Steps = None,
    base_steps: BaseSteps = None,
    batch_size: BatchSize = None,
    masked_batch_size: MaskedBatchSize = None,
    learning_rate: Rate = None,
    external: External = None,
    internal: Internal = None,
    measure: Measure = None,
    weight_external: Weight = None,
    weight_internal: Weight = None,
    weight_swap: Weight = None,
    detach_gradient: Detach = False,
    out: Out = Path("mamba-mender-run"),
    resume: Resume = False,
    skip_bad: SkipBad = False,
    quiet: Quiet = False,
) -> None:
    """Find the flaw in a model's states, mend it, and prove it against a control.

    Without options: handwritten digits with a planted decoy (a grey corner patch that gives the label
    away in training and lies at test time). A small Vim falls for it, is mended by constraints on its
    states, and is compared with a control that trains on for as long. About two minutes on two cores.
    """
    from mamba_mender.cli.threads import suited_threads
    from mamba_mender.data import load_data
    from mamba_mender.repair import examine, mask_preset
    from mamba_mender.repair import mend as run_mend
    from mamba_mender.report import write_report

    given = {"steps": steps, "base_steps": base_steps, "batch_size": batch_size, "learning_rate": learning_rate}
    given |= {"masked_batch_size": masked_batch_size, "measure": measure or implied_measure(external, detach_gradient)}
    given |= {"detach_gradient": detach_gradient or None, "seeds": seeds and tuple(range(seeds))}
    given |= {"arms": _words(arms), "external": _words(external), "internal": _words(internal)}
    given = {name: value for name, value in given.items() if value is not None}
    given |= _weights(weight_external=weight_external, weight_internal=weight_internal, weight_swap=weight_swap)
    name, path = split_model(model)
    given |= {"architecture": name} if name else {}
    console = Console()
    loading = {"mask_share": mask_share, "limit": limit, "skip_bad": skip_bad}
    side = side_of(path) if img_size is None else img_size
    images = load_data(data, masks=mask_preset(data) if masks is None else masks, img_size=side, **loading)
    console.print(images.description, *images.notes, f"Run folder: {out}", sep="\n", highlight=False, soft_wrap=True)
    with suited_threads(images.img_size):
        result = run_mend(
            path,
            images,
            config=choose_settings(data, images, given),
            out=out,
            resume=resume,
            source={"data": data, "model": model, "masks": masks, "img_size": img_size} | loading,
            tell=lambda arm, done, total: console.print(told(arm, done, total), highlight=False, soft_wrap=True),
            progress=not quiet,
        )
        examine(result, images, progress=not quiet)
    page = write_report(out)
    console.print(summary(result))
    console.print(closing(result), f"Report: {page}", sep="\n", highlight=False, soft_wrap=True)


def implied_measure(external: str | None, detach_gradient: bool = False) -> str | None:
    """Choose the measure that is meant without one: "path" has no place but the embedding, and no first order.

    Example:
        >>> implied_measure("last.s"), implied_measure("embedding"), implied_measure(None, detach_gradient=True)
        ('share', None, 'share')
    """
    elsewhere = _words(external) not in (None, ("embedding",))
    return "share" if elsewhere or detach_gradient else None


def split_model(model: str | None) -> tuple[str | None, Path | None]:
    """Tell the name of a model to train from the file of a trained one: a file has a suffix.

    Example:
        >>> split_model("vim_nano"), split_model("run/base.safetensors")
        (('vim_nano', None), (None, PosixPath('run/base.safetensors')))
    """
    if model is None:
        return None, None
    return (None, Path(model)) if Path(model).suffix else (model, None)


def side_of(path: Path | None) -> tuple[int, int] | None:
    """Read the image size that a trained model takes; None without one, or for a foreign file."""
    from mamba_mender.models import read_card

    if path is None or path.suffix != ".safetensors":
        return None
    height, width = read_card(path)["config"]["img_size"]
    return height, width


def choose_settings(name: str, images: "ImageData", given: dict[str, Any]) -> "MendConfig":
    """Take what suits the data, what is given, and leave out the arms that need masks where there are none."""
    from mamba_mender.repair import mend_preset

    config = mend_preset(name, **given)
    if int(images.train.has_mask.sum()) or "arms" in given:
        return config
    return mend_preset(name, **given | {"arms": tuple(arm for arm in config.arms if arm not in ("ext", "all", "swap"))})


def told(result: "ArmResult", done: int, total: int) -> str:
    """Word one finished training run in a line."""
    shares = [
        f"{words} {100 * result.accuracy[split]:.1f} %" for split, words in SPLITS.items() if split in result.accuracy
    ]
    weights = ", ".join(f"{name} {weight:g}" for name, weight in result.weights.items())
    about = f"{LABELS[result.arm]}, seed {result.seed}" + (f" (weights: {weights})" if weights else "")
    return f"[{done}/{total}] {about}: {', '.join(shares)}; {result.seconds:.0f} s".replace("[", r"\[", 1)


def summary(result: "MendResult") -> Table:
    """Lay out every arm's accuracy with its interval, and the gain over the control."""
    shown = {split: SPLITS[split] for split in ("test", "clean_test") if split in result.base.result.accuracy}
    headings = [f"{words}, %" for words in shown.values()]
    table = Table("", *headings, "gain on test, points", title="Accuracy, with 95 % intervals", box=box.SIMPLE_HEAD)
    for name, arm in result.arms.items():
        cells = [interval(arm.accuracy[split]) if split in arm.accuracy else "" for split in shown]
        gain = arm.gain.get("test")
        style = "bold" if result.chosen is not None and name == result.chosen.name else ""
        table.add_row(LABELS[name], *cells, interval(gain, signed=True) if gain else "", style=style)
    return table


def closing(result: "MendResult") -> str:
    """Say in a sentence or two whether mending helped."""
    from mamba_mender.repair import gap_closed

    chosen = result.chosen
    if chosen is None:
        return "Nothing was mended: no arm with a constraint was asked for."
    gain = chosen.gain["test"]
    verdict = "beats" if gain.low > 0 else "falls behind" if gain.high < 0 else "cannot be told from"
    closed = gap_closed(result.arms, chosen.name)
    gap = "" if closed is None else f" It closes {100 * closed:.0f} % of the gap to a model trained on clean images."
    return (
        f"{LABELS[chosen.name]}, chosen on validation images, {verdict} the control on test images: "
        f"{interval(gain, signed=True)} points.{gap}"
    )


def interval(value: Any, *, signed: bool = False) -> str:
    """Write an interval in percent, such as "86.1 (84.0 to 88.0)"."""
    mean, low, high = (f"{100 * v:+.1f}" if signed else f"{100 * v:.1f}" for v in (value.mean, value.low, value.high))
    return f"{mean} ({low} to {high})"


def _words(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(word.strip() for word in text.split(",") if word.strip())


def _weights(**texts: str | None) -> dict[str, float | None]:
    """Read weights; "auto" is None, which has them chosen."""
    from mamba_mender._check import UserError

    weights: dict[str, float | None] = {}
    for name, text in texts.items():
        if text == "auto":
            weights[name] = None
        elif text is not None:
            weights[name] = value = _number(text)
            if not (math.isfinite(value) and value >= 0):
                option = f"--{name.replace('_', '-')}"
                raise UserError(f"mend: {option} must be a number of at least 0 or 'auto', got {text!r}.")
    return weights


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
