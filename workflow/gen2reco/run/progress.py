"""Progress of a stage: a bar on a terminal, plain lines in a log."""

import sys
import time
from typing import TYPE_CHECKING

from gen2reco.verbosity import tells

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Progress:
    """Context manager that shows how many of `total` units are done; call `advance(n)` after each n units."""

    def __init__(self, label: str, total: int, unit: str):
        self.label, self.total, self.unit, self.done = label, total, unit, 0
        self.started = self.printed = time.monotonic()
        self.bar: Bar | None = None

    def __enter__(self) -> "Progress":
        if self.total and sys.stderr.isatty() and tells():
            from rich import progress
            from rich.console import Console

            columns = (progress.TextColumn("{task.description}"), progress.BarColumn())
            counted = (progress.MofNCompleteColumn(), progress.TimeRemainingColumn())
            self.bar = progress.Progress(*columns, *counted, console=Console(stderr=True))
            self.bar.start()
            self.task = self.bar.add_task(self.label, total=self.total)
        return self

    def advance(self, n: int) -> None:
        """Count n more units. A log gets a line at most every ten seconds, and one at the end."""
        self.done += n
        if self.bar:
            self.bar.advance(self.task, n)
            return
        now = time.monotonic()
        if not tells():
            return
        if now - self.printed > 10 or self.done >= self.total:
            self.printed = now
            rate = self.done / max(now - self.started, 1e-9)
            print(f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:.3g} {self.unit}/s", file=sys.stderr)

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()
