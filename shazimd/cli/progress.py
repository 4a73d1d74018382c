"""A progress bar on a terminal; the only module of the command line tool with an import of rich."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Bar:
    """Shows indexed and total images, rate and remaining time on standard error."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        rate = (TaskProgressColumn(show_speed=True, text_format_no_percentage=""), TimeRemainingColumn())
        self._progress = Progress(
            *columns,
            *rate,
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # above the bar; a pipe gets its lines itself
        )
        self._task = self._progress.add_task("", total=None)
        self._progress.start()

    def show(self, state: str, known: int, total: int) -> None:
        self._progress.update(self._task, description=state, completed=known, total=total)

    def close(self) -> None:
        self._progress.stop()
