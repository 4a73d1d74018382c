"""A picture that ends early, from its arrival to the group of duplicates."""

from __future__ import annotations

import os
from pathlib import Path

from daemon_process import daemon_process
from drawn import encoded, photograph

from shazimd.client import Client


def test_a_file_that_ends_early_is_told_as_damaged_and_never_kept(tmp_path: Path) -> None:
    """Its alert says so, also after a restart; the whole file is kept, though its name says that it is the copy."""
    whole = encoded(photograph(), "PNG")
    with daemon_process(tmp_path) as daemon:
        (daemon.root / "a copy.png").write_bytes(whole)
        daemon.start()
        daemon.settled()
        (daemon.root / "a.png").write_bytes(whole[: len(whole) * 7 // 10])
        event = daemon.wait_for("near_duplicate")
        daemon.settled(compared=True)
        found = daemon.ctl("find", str(daemon.root / "a.png"))
        listed = daemon.ctl("duplicates")
        cleaned = daemon.ctl("clean", "--verdict", "exact,copy", "--prefer", "name:a.png")
        alerts = list(Client(daemon.socket).alerts())
        daemon.stop()
        daemon.start()
        assert list(Client(daemon.socket).alerts()) == alerts
        assert "a.png (damaged)" in daemon.ctl("alerts").stdout
    assert (event["verdict"], event["damaged"]) == ("copy", True)
    assert "for this damaged file" in found.stdout
    assert "a.png at 100% exact (damaged)" in found.stdout
    kept, other = listed.stdout.splitlines()[1:3]
    assert os.path.basename(kept.split("  ")[1]) == "a copy.png"
    assert "damaged" in other
    assert "not damaged" in listed.stdout.splitlines()[0]
    keep, reason, *_ = cleaned.stdout.splitlines()
    assert os.path.basename(keep) == "a copy.png"
    assert "not damaged" in reason
