"""`mamba-mender guard calibrate`: measure what is healthy in a model's states."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from mamba_mender.cli.guard_stream import Data, Model, Quiet, SkipBad

if TYPE_CHECKING:
    from mamba_mender.cli.stress_models import Tested
    from mamba_mender.repair.guard import StateGuard

EXAMPLE = (
    "mamba-mender guard calibrate mamba-mender-run/train/model.safetensors --out mamba-mender-run/guard.safetensors"
)


def calibrate(
    model: Model,
    data: Data = None,
    out: Annotated[Path, typer.Option(help="The guard's file, .safetensors.")] = Path(
        "mamba-mender-run/guard.safetensors"
    ),
    sites: Annotated[
        str | None, typer.Option(help="States to guard, such as embedding,0.h,2.h. [default: up to six of the stream]")
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="Keep those of the sites that do best on validation corruptions.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings, such as 'alpha: 0.01'.")] = None,
    count: Annotated[
        int, typer.Option(min=1, help="Training images to measure on, and held-out ones, at most.")
    ] = 6000,
    limit: Annotated[int | None, typer.Option(min=2, help="Training images to load; as in training.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 250,
    skip_bad: SkipBad = False,
    quiet: Quiet = False,
) -> None:
    """Measure the healthy statistics of a model's states on the training images that it gets right.

    The scores that tell how healthy a sample is are measured on the validation images, which the statistics were not
    measured on: that is what bounds the share of healthy images that are flagged.
    """
    from mamba_mender._check import UserError
    from mamba_mender.cli.stress_models import take_guard, take_tested
    from mamba_mender.cli.threads import suited_threads
    from mamba_mender.repair.guard import GuardConfig, read_guard_config

    if out.suffix != ".safetensors":
        raise UserError(f"guard calibrate: --out must end in .safetensors, got {str(out)!r}.")
    settings = GuardConfig() if config is None else read_guard_config(config)
    keys = None if sites is None else [key.strip() for key in sites.split(",") if key.strip()]
    tested = take_tested("guard calibrate", model, data, limit=limit, skip_bad=skip_bad)
    with suited_threads(tested.data.img_size):
        guard = take_guard(
            tested, None, sites=keys, config=settings, count=count, batch_size=batch_size, progress=not quiet
        )
        if search:
            guard = _searched(guard, tested, progress=not quiet)
    path = guard.save(out)
    table = Table("site", "channels", "tokens", title="What is guarded", box=box.SIMPLE_HEAD)
    for key, law in guard.laws.items():
        mean = law.law().mean
        table.add_row(key, str(mean.shape[-1]), str(mean.shape[0]) if mean.dim() > 1 else "any")
    console = Console()
    console.print(tested.data.description, table, highlight=False)
    card = guard.card
    console.print(
        f"Measured on {card['healthy']} training images and {card['held_out']} held-out ones; on average "
        f"at most {100 * settings.alpha:g} % of healthy images are flagged. The guard is {path}.",
        *guard.gaps(),
        sep="\n",
        highlight=False,
        soft_wrap=True,
    )


def _searched(guard: "StateGuard", tested: "Tested", *, progress: bool) -> "StateGuard":
    """Keep the sites that do best on validation images under corruptions that no test uses, and say how each did."""
    from mamba_mender.repair.guard import search_sites

    found = search_sites(guard, tested.network, tested.data.validation, progress=progress)
    table = Table("sites", "clean, %", "corrupted, %", title="Sites on validation corruptions", box=box.SIMPLE_HEAD)
    for name, score in found.scores.items():
        chosen = "bold" if name == found.choice else ""
        table.add_row(name, f"{100 * score.clean:.1f}", f"{100 * score.mean:.1f}", style=chosen)
    Console().print(table)
    return guard.at(found.sites)
