"""`mamba-mender guard analyze`: what a guard does along a stream, and its theory beside what is measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from mamba_mender.cli.guard_stream import (
    BatchSize,
    Data,
    Glance,
    GuardFile,
    Model,
    Noise,
    Quiet,
    Schedule,
    Seed,
    SkipBad,
    Split,
)
from mamba_mender.cli.train import write_json

if TYPE_CHECKING:
    from torch import nn

    from mamba_mender.cli.stress_models import Tested

EXAMPLE = (
    "mamba-mender guard analyze mamba-mender-run/train/model.safetensors --guard mamba-mender-run/guard.safetensors "
    "--out mamba-mender-run/guard-analysis"
)
HEADS = {"before": "distance before", "proved": "proved after", "norm": "map's norm"}  # of columns, by figure


def analyze(
    context: typer.Context,
    model: Model,
    guard: GuardFile,
    data: Data = None,
    split: Split = "test",
    noise_schedule: Schedule = "clean,noisy,clean",
    noise: Noise = 0.3,
    count: Annotated[int, typer.Option(min=1, help="Images of the stream; shown again where there are fewer.")] = 3000,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Also remove each mechanism of the guard in turn; six times the work.")
    ] = False,
    warm_up: Annotated[int, typer.Option(min=0, help="Of the ablation: images that are not judged.")] = 200,
    batch_size: BatchSize = 50,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("mamba-mender-run/guard-analysis"),
    skip_bad: SkipBad = False,
    quiet: Quiet = False,
) -> None:
    """Follow a guard along a stream: correlations, plasticity, homeostasis, metaplasticity, convergence.

    What the repair does to the states and answers is measured on the parts of the stream that are not clean, and what
    is proved of it stands beside what is measured there.

    Writes to --out: report.html to look at, analysis.json, repair.json, theory.json, ablation.json and figures/.
    """
    from mamba_mender.cli.again import command_again
    from mamba_mender.cli.guard_stream import guard_of, image_stream
    from mamba_mender.cli.stress_models import take_tested
    from mamba_mender.cli.threads import suited_threads
    from mamba_mender.report.guard_page import write_guard_page

    tested = take_tested("guard analyze", model, data, limit=None, skip_bad=skip_bad)
    guarded = guard_of(tested, guard)
    how = {"split": split, "noise": noise, "count": count, "batch_size": batch_size, "seed": seed}
    with suited_threads(tested.data.img_size):
        glances = list(image_stream(tested, schedule=noise_schedule, **how))
        normalise = tested.on_pixels().get_submodule("0")
        measure(normalise, guarded, glances, out, progress=not quiet)
        if ablation:
            _ablate(tested, guard, normalise, glances, out, warm_up=warm_up, progress=not quiet)
    about = {"model": str(model), "guard": str(guard), "description": tested.data.description}
    about |= {"config": guarded.config.to_dict(), "phases": [glance.phase for glance in glances]} | how
    command = command_again(context, out=f"{out.resolve().name}-again")
    write_json(out / "about.json", about | {"commands": [command]})
    page = write_guard_page(out)
    console = Console()
    console.print(*_tables(out), f"Page: {page}", sep="\n", highlight=False, soft_wrap=True)


def measure(normalise: "nn.Module", guarded: Any, glances: list[Glance], out: Path, *, progress: bool) -> None:
    """Run the analyses and write what each gave; what cannot be measured says why."""
    import torch

    from mamba_mender._check import UserError
    from mamba_mender.repair.guard import analyse_guard, guard_theory, repair_analysis

    inputs = [normalise(glance.images) for glance in glances]
    labels = [glance.labels for glance in glances if glance.labels is not None]
    guarded.reset()
    analyse_guard(guarded, inputs, torch.cat(labels), progress=progress).save(out / "analysis.json")
    ill = [n for n, glance in enumerate(glances) if glance.phase != "clean"]
    reason = "" if ill else "the stream is clean throughout"
    theory = repair = None
    if ill:
        guarded.reset()
        together = torch.cat([inputs[n] for n in ill]), torch.cat([labels[n] for n in ill])
        repair = repair_analysis(guarded, *together, batch_size=len(inputs[ill[0]]))
        try:
            theory = guard_theory(guarded, inputs[ill[-1]])  # with what it remembers of the others
        except UserError as error:
            reason = str(error)
    write_json(out / "repair.json", {"missing": reason} if repair is None else repair.to_dict())
    write_json(out / "theory.json", {"missing": reason} if theory is None else theory.to_dict())


def _ablate(
    tested: "Tested",
    guard: Path,
    normalise: "nn.Module",
    glances: list[Glance],
    out: Path,
    *,
    warm_up: int,
    progress: bool,
) -> None:
    """Remove each mechanism of the guard in turn, on the whole stream."""
    import torch

    from mamba_mender.repair.guard import StateGuard, ablate_guard

    stream = [torch.cat([normalise(glance.images) for glance in glances])]
    stream.append(torch.cat([glance.labels for glance in glances if glance.labels is not None]))
    size, named = len(glances[0].images), {"stream": (stream[0], stream[1])}
    rows = ablate_guard(
        StateGuard.load(guard), tested.network, named, batch_size=size, warm_up=warm_up, progress=progress
    )
    write_json(out / "ablation.json", {"warm_up": warm_up, "rows": [row.to_dict() for row in rows]})


def _tables(out: Path) -> list[Any]:
    """Lay out what the repair did at each site, and what is proved of it."""
    import json

    repair, theory = (json.loads((out / f"{name}.json").read_text()) for name in ("repair", "theory"))
    told: list[Any] = []
    if "sites" in repair:
        names = ("health", "before", "after", "restored")
        told = [
            _site_table("States before and after their repair", repair["sites"], names),
            f"The {repair['samples']} images that are not clean, by themselves: {100 * repair['base']:.1f} % right "
            f"without the guard, {100 * repair['repaired']:.1f} % with it; {repair['to_right']} answers turned right, "
            f"{repair['to_wrong']} wrong.",
        ]
    if "sites" in theory:
        names = ("before", "after", "proved", "norm")
        told.append(_site_table("Moments in the last of these batches: measured, and proved", theory["sites"], names))
    if "missing" in theory:
        told.append(f"The theory was not measured: {theory['missing']}")
    return told


def _site_table(title: str, sites: dict[str, dict[str, Any]], names: tuple[str, ...]) -> Table:
    """Lay out figures of each site under their names."""
    table = Table("site", *(HEADS.get(name, name) for name in names), title=title, box=box.SIMPLE_HEAD)
    for key, site in sites.items():
        table.add_row(key, *("-" if site[name] is None else f"{site[name]:.2f}" for name in names))
    return table
