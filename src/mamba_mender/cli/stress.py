"""`mamba-mender stress`: how many answers stay right under noise, corruptions, attacks, faults and streams."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

EXAMPLE = (
    "mamba-mender stress mamba-mender-run/train/model.safetensors --repair guard,tent --out mamba-mender-run/stress"
)

Model = Annotated[str | None, typer.Argument(help="A .safetensors file of ours, or a published Vim .pth; see --text.")]
Data = Annotated[str | None, typer.Option(help="A data set's name or a folder; that of the training if omitted.")]
Split = Annotated[Literal["test", "validation", "train"], typer.Option(help="Whose images to judge on.")]
Out = Annotated[Path, typer.Option(help="The folder to write to.")]
Noise = Annotated[str, typer.Option(help="Levels of noise, in pixels of [0, 1]; none for no noise.")]
Kinds = Annotated[str, typer.Option(help="Of the noise: gaussian, uniform, speckle, impulse.")]
Corruptions = Annotated[str, typer.Option(help="all (the fifteen of ImageNet-C), names such as fog,snow, or none.")]
Severities = Annotated[str, typer.Option(help="Of the corruptions, 1 to 5.")]
Rotations = Annotated[str, typer.Option(help="Degrees.")]
Translations = Annotated[str, typer.Option(help="Shares of the side, down and to the right.")]
Attacks = Annotated[str, typer.Option(help="fgsm, pgd, cw, deepfool, autoattack, square; more as in pgd-l2-100x5.")]
Eps = Annotated[str, typer.Option(help="Largest change of a pixel, such as 8/255; several with commas.")]
EpsL2 = Annotated[str, typer.Option("--eps-l2", help="Largest change in L2, for cw and others in L2.")]
Faults = Annotated[str, typer.Option(help="KIND:RATE@BLOCK.STATE, such as bit_flip:0.01@2.h,nan:0.001.")]
Shift = Annotated[str, typer.Option(help="Other image sets of the same classes: folders or names; their test images.")]
Orders = Annotated[str, typer.Option(help="Streams: label-sorted, imbalanced, drifting.")]
BatchSizes = Annotated[str, typer.Option(help="Streams in batches of these sizes, such as 1,4.")]
StreamNoise = Annotated[str, typer.Option(help="Gaussian noise on streams; 0 for clean images.")]
Repair = Annotated[
    str,
    typer.Option(help="guard, median_filter, norm_statistics, tent, eata, sar, t3a, lame, memo; none is always there."),
]
Guard = Annotated[Path | None, typer.Option(help="A guard's file; calibrated on the training images if omitted.")]
Count = Annotated[int, typer.Option(min=1, help="Images judged, as far as the set has them.")]
CountMasking = Annotated[int, typer.Option(min=0, help="Images of the masking checks that go with attacks; 0: none.")]
Warmup = Annotated[int, typer.Option(min=0, help="Images that come first and are not judged; none before attacks.")]
StreamWarmup = Annotated[int, typer.Option(min=0, help="The same on streams.")]
Text = Annotated[Path | None, typer.Option(help="A text file: MODEL is a language model, a folder or hub name.")]
Character = Annotated[str, typer.Option(help="Text: rates of wrong characters.")]
Dropout = Annotated[str, typer.Option(help="Text: rates of lost tokens.")]
Lengths = Annotated[str, typer.Option(help="Text: lengths of context, the first that of the training.")]
Windows = Annotated[int, typer.Option(min=2, help="Text: windows that are read.")]
Limit = Annotated[int | None, typer.Option(min=2, help="Training images to load, for what is calibrated on them.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at a time; what learns from a stream depends on it.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder, or add to it.")]
PageOnly = Annotated[bool, typer.Option("--page-only", help="Make the page anew from what is in --out.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


def stress(
    context: typer.Context,
    model: Model = None,
    data: Data = None,
    split: Split = "test",
    out: Out = Path("mamba-mender-run/stress"),
    noise: Noise = "0.1,0.2,0.3,0.4,0.5",
    kinds: Kinds = "gaussian",
    corruptions: Corruptions = "all",
    severities: Severities = "1-5",
    rotations: Rotations = "none",
    translations: Translations = "none",
    attacks: Attacks = "none",
    eps: Eps = "8/255",
    eps_l2: EpsL2 = "0.5",
    faults: Faults = "none",
    shift: Shift = "none",
    orders: Orders = "none",
    batch_sizes: BatchSizes = "none",
    stream_noise: StreamNoise = "0,0.3",
    repair: Repair = "none",
    guard: Guard = None,
    count_noise: Count = 10_000,
    count_corruption: Count = 2_000,
    count_shift: Count = 10_000,
    count_attack: Count = 500,
    count_fault: Count = 2_000,
    count_stream: Count = 10_000,
    count_memo: Count = 200,
    count_masking: CountMasking = 100,
    warmup: Warmup = 0,
    stream_warmup: StreamWarmup = 200,
    text: Text = None,
    character: Character = "0.02,0.05,0.1,0.2",
    dropout: Dropout = "0.05,0.1,0.2",
    lengths: Lengths = "128,256,512",
    windows: Windows = 32,
    limit: Limit = None,
    batch_size: BatchSize = 200,
    seed: Annotated[int, typer.Option(help="Of the choice of images, their order, and all noise.")] = 0,
    skip_bad: SkipBad = False,
    resume: Resume = False,
    page_only: PageOnly = False,
    quiet: Quiet = False,
) -> None:
    """Judge a model, bare and with each repair, on everything that can go wrong with its images.

    Every accuracy has its number of images and its interval. Each cell is kept as it ends; --resume goes on, and takes
    more levels, attacks and repairs. Under `torchrun` the processes share the cells.

    Writes to --out: report.html to look at, stress.json, cells/, masking/ and figures/; for texts language.json.
    """
    asked: dict[str, Any] = dict(locals())
    if not page_only:
        _run(asked)
    _tell(out, page_only=page_only)


def _run(asked: dict[str, Any]) -> None:
    """Run what is asked for, and note down what it was."""
    from mamba_mender._check import UserError
    from mamba_mender.cli.again import command_again
    from mamba_mender.cli.stress_runs import note_down, stress_images, stress_text

    if asked["model"] is None:
        raise UserError("stress: name a model; or make the page anew from saved results with --page-only.")
    about = stress_images(asked, _say) if asked["text"] is None else stress_text(asked, _say)
    note_down(asked["out"], about, command_again(asked["context"], out=f"{asked['out'].resolve().name}-again"))


def _tell(out: Path, *, page_only: bool) -> None:
    """Print a table of what was found, and where the page is."""
    from mamba_mender.cli.stress_summary import image_table, text_table
    from mamba_mender.report.stress_page import write_stress_page
    from mamba_mender.stress import StressResult

    console = Console()
    if (out / "stress.json").is_file():
        result = StressResult.load(out)
        console.print(image_table(result))
        if result.missing and not page_only:
            console.print(f"{len(result.missing)} cells are not there yet; other processes run them, or --resume does.")
    if (out / "language.json").is_file():
        console.print(text_table(out))
    _say(f"Page: {write_stress_page(out)}")


def _say(line: str) -> None:
    Console().print(line, highlight=False, markup=False, soft_wrap=True)
