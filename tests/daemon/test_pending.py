"""What `shazimctl wait` relies on: no path is out of sight of a count."""

from __future__ import annotations

from unittest.mock import Mock

from shazimd.daemon.run import Run
from shazimd.watch.debounce import Debouncer
from shazimd.watch.events import FileEvent, Kind, Stage

PATH = FileEvent(Kind.FILE, b"/r/a.jpg", stage=Stage.CLOSED)


class Circling(Debouncer):
    """Its events are on their way to a job before they are counted."""

    def pending(self) -> int:
        while self.take(0):
            pass
        return super().pending()


def test_a_path_that_goes_back_again_and_again_is_pending() -> None:
    """Its job puts it into the debouncer and ends before the jobs are counted, and has it again before the next look
    at the debouncer: as of a file that keeps changing, for a thread that counts slowly."""
    run = Run.__new__(Run)
    debouncer = Circling({b"/r": 0.0})
    laps = iter(range(5))

    def jobs() -> int:
        if next(laps, None) is None:
            return 1
        debouncer.put(PATH)
        return 0

    run._watchers, run._debouncer, run._scanning = {}, debouncer, False
    run._reconciler, run.ingest = Mock(**{"progress.return_value": {}}), Mock(pending=[])
    run._jobs = Mock(pending=jobs)
    assert 1 == run.pending()
    assert 1 == run.pending()


def test_the_alert_of_a_file_on_a_mount_that_may_hang_has_its_group() -> None:
    """Its job looks at the file: it may take neither all threads nor the end of the run."""
    run = Run.__new__(Run)
    run._jobs, run.roots = Mock(), Mock(**{"stalling.side_effect": {b"/nas/a.jpg": b"/nas"}.get})
    for path in (b"/nas/a.jpg", b"/local/a.jpg"):
        run._decide(Mock(path=path))
    assert [b"/nas", None] == [call.args[3] for call in run._jobs.offer.call_args_list]
