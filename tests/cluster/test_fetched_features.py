"""A host that keeps no local features of others: its link fetches them from the database."""

from __future__ import annotations

from collections.abc import Callable

from daemon_process import drawing
from linked import LinkedHost, known, wait_until

Hosts = Callable[[str, str], LinkedHost]


def test_a_host_fetches_features_when_they_are_needed(host: Hosts, url: str) -> None:
    """A copy of another host's picture is found and told as by a host that keeps them; while the link is away, an
    answer says that it was not verified."""
    a, b = host("a", url), host("b", url)
    b.configure(url, features="fetch")
    drawing(1).save(a.root / "1.png")
    a.start()
    b.start()
    wait_until(lambda: known(b, a), a, b)
    drawing(1).resize((200, 150)).save(b.root / "copy.jpg", quality=90)
    wait_until(lambda: b.told_across() == [(f"{b.root}/copy.jpg", f"a:{a.root}/1.png")], a, b)
    asked = b.root.parent / "asked.jpg"
    drawing(2).save(a.root / "2.png")
    drawing(2).resize((240, 180)).save(asked, quality=90)
    wait_until(lambda: known(b, a), a, b)
    b.stop_link()
    wait_until(lambda: "not verified" in b.daemon.ctl("find", str(asked)).stderr, a, b)
    reply = b.client.find(asked.read_bytes())
    assert ([match["verdict"] for match in reply["matches"]], reply["unverified"]) == (["similar"], 1)
    b.start_link()
    wait_until(lambda: "unverified" not in b.client.find(asked.read_bytes()), a, b)
    (match,) = b.client.find(asked.read_bytes())["matches"]
    assert (match["path"], match["verdict"]) == (f"a:{a.root}/2.png", "copy")
