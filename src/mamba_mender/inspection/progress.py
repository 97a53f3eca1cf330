"""A progress bar for what takes long."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PATIENCE = 2.0  # seconds before a bar appears: what is over sooner needs none
REFRESH = 0.25  # seconds between two drawings


class ImageBar:
    """Count images on a terminal once it has taken two seconds; say nothing elsewhere.

    Args:
        label: what is going on, in a word.
        total: images in all.
        shown: False never shows anything.
        console: where to draw; standard error if omitted.
    """

    def __init__(self, label: str, total: int, *, shown: bool = True, console: Console | None = None) -> None:
        console = Console(file=sys.stderr) if console is None else console
        self.shown = shown and console.is_terminal
        self.began = self.drawn = time.monotonic()
        self.total, self.done = total, 0
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self.bar = Progress(*columns, *times, console=console, auto_refresh=False, transient=True)
        self.task = self.bar.add_task(label, total=total)

    def __enter__(self) -> "ImageBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar.live.is_started:
            self.bar.stop()

    def advance(self, images: int) -> None:
        """Count images that are done."""
        self.done += images
        now = time.monotonic()
        if not self.shown or now - self.began < PATIENCE or now - self.drawn < REFRESH:
            return
        self.drawn = now
        self.bar.update(self.task, completed=self.done)
        if not self.bar.live.is_started:
            self.bar.start()
        self.bar.refresh()
