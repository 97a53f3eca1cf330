"""The line that shows how a run goes: loss, accuracy, images a second and time left."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PATIENCE = 2.0  # seconds before a line appears: what is over sooner needs none
REFRESH = 0.25  # seconds between two drawings


class ProgressLine:
    """Show a bar on a terminal once a run has lasted two seconds; say nothing elsewhere.

    Args:
        total: steps in the run.
        done: steps done before, in a resumed run.
        label: what is going on, in a word.
        shown: False never shows anything.
        console: where to draw; standard error if omitted.

    Example:
        >>> with ProgressLine(total=2, shown=False) as line:
        ...     line.advance(1, loss=0.5, accuracy=0.9, rate=1000.0)
    """

    def __init__(
        self, total: int, *, done: int = 0, label: str = "train", shown: bool = True, console: Console | None = None
    ) -> None:
        self.console = console or Console(file=sys.stderr)
        self.shown = shown and self.console.is_terminal
        self.total, self.label, self.first = total, label, done
        self.progress: Progress | None = None
        self.began = self.drawn = time.monotonic()

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress is not None:
            self.progress.refresh()
            self.progress.stop()

    def advance(self, done: int, **numbers: float) -> None:
        """Move the bar to the number of steps done and show the numbers: loss, accuracy, rate (images a second)."""
        if not self.shown:
            return
        now = time.monotonic()
        if now - self.drawn < REFRESH and done < self.total:
            return
        if self.progress is None:
            if now - self.began < PATIENCE:
                return
            self.progress = self._begin()
        self.drawn = now
        words = [f"loss {numbers['loss']:.3f}"] if "loss" in numbers else []
        words += [f"accuracy {100 * numbers['accuracy']:.1f} %"] if "accuracy" in numbers else []
        words += [f"{numbers['rate']:.0f} images/s"] if "rate" in numbers else []
        left = (now - self.began) * (self.total - done) / max(done - self.first, 1)
        words += [f"{int(left) // 60}:{int(left) % 60:02d} left"]
        self.progress.update(self.task, completed=done, words=" · ".join(words))
        self.progress.refresh()

    def _begin(self) -> Progress:
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[words]}"),
            console=self.console,
            auto_refresh=False,  # no second thread beside the kernels
            transient=True,
        )
        self.task = progress.add_task(self.label, total=self.total, completed=self.first, words="")
        progress.start()
        return progress
