"""The report: one self-contained page made from a run folder."""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from mamba_mender import __version__
from mamba_mender._check import UserError
from mamba_mender._files import write_atomic
from mamba_mender.report.accuracy_table import accuracy_table
from mamba_mender.report.command import write_command
from mamba_mender.report.contents import Contents, read_contents
from mamba_mender.report.palette import look
from mamba_mender.report.pictures import make_pictures
from mamba_mender.report.story import tell_story
from mamba_mender.report.visualize import visualize
from mamba_mender.report.words import CAPTIONS, WORDS


def write_report(run_folder: Path | str) -> Path:
    """Write ``report.html`` into a run folder: what was wrong, what changed, and whether it helped.

    The page needs nothing beside it: styles and figures are inside, and it refers to no address. Arms and
    diagnoses that the folder lacks are named on the page. The figures also go into ``visualize/``, as SVG, and those of
    the diagnosis as PNG into its folders; see :func:`mamba_mender.report.visualize.visualize`.

    Args:
        run_folder: what :func:`mamba_mender.repair.mend` and :func:`mamba_mender.repair.examine` wrote.

    Returns:
        The path of the page.

    Raises:
        UserError: the folder is no run folder, or a file in it is damaged.
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        raise UserError(f"write_report: there is no folder {str(folder)!r}; give the folder of a run.")
    contents = read_contents(folder)
    pictures, missing = make_pictures(contents)
    for name, picture in pictures.items():
        picture.save(folder / "visualize" / f"{name}.svg")
    if contents.before is not None:
        visualize(contents.before, folder)
    story = tell_story(contents)
    command, other = write_command(contents.settings, f"{folder.resolve().name}-again")
    environment = Environment(
        loader=PackageLoader("mamba_mender.report"), autoescape=select_autoescape(), undefined=StrictUndefined
    )
    page = environment.get_template("report.html").render(
        title=story.title,
        story=story,
        pictures=pictures,
        missing=missing,
        table=accuracy_table(contents.arms) if contents.arms else None,
        absent=[] if not contents.arms else [f"{look(name).label}, {look(name).meaning}." for name in contents.absent],
        mended=bool(contents.arms),
        asked="base" in contents.sights and contents.sights["base"].effect is not None,
        masked=contents.scene is not None and contents.scene.masks is not None,
        seeds=contents.seeds,
        captions=CAPTIONS,
        words=WORDS,
        facts=list(_facts(contents)),
        options=list(_settings(contents.settings.get("config", {}))),
        command=command,
        other=other,
        folder=folder.resolve().name,
        date=date.today().isoformat(),
        version=__version__,
    )
    path = folder / "report.html"
    write_atomic(path, page.encode())
    return path


def _facts(contents: Contents) -> Iterator[tuple[str, str]]:
    """List what a reader needs to judge the run."""
    data, settings = contents.settings.get("data", {}), contents.settings
    config = settings.get("config", {})
    if contents.before is not None and not data:
        yield "Data", f"{contents.before.data}, split {contents.before.split}"
        yield "Classes", ", ".join(contents.before.classes)
    if data:
        yield "Data", data.get("description", data.get("name", ""))
        yield "Classes", ", ".join(data.get("classes", []))
        for note in data.get("notes", []):
            yield "Note", note
    if config:
        given = settings.get("model")
        yield (
            "Model",
            str(given) if given else f"{config.get('architecture')}, trained for {config.get('base_steps')} steps",
        )
        yield "Each arm", f"{config.get('steps')} steps of {config.get('batch_size')} images"
        yield (
            "Constrained states",
            f"external: {', '.join(config['external'])}, measure {config.get('measure', 'unknown')}; "
            f"internal: {', '.join(config['internal'])}",
        )
    seeds = {name: [result.seed for result in arm.results] for name, arm in contents.arms.items()}
    if seeds:
        yield "Seeds", "; ".join(f"{look(name).label} {', '.join(map(str, own))}" for name, own in seeds.items())
        seconds = sum(result.seconds for arm in contents.arms.values() for result in arm.results)
        threads = settings.get("threads")
        yield "Training time", f"{seconds / 60:.1f} minutes in all" + (f", threads: {threads}" if threads else "")
    if contents.before is not None:
        rule = contents.before
        yield (
            "Relevance",
            f"{rule.count} easy and {rule.count} hard images of each class, of the split {rule.split}; "
            f"sign rule {rule.sign}; gradient {'averaged over tokens' if rule.average_gradient else 'of each token'}; "
            f"target {rule.target}; thresholds alpha {rule.alpha:g}, beta {rule.beta:g}",
        )
    versions = settings.get("versions", {})
    if versions:
        yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items())


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        yield name, json.dumps(value)
