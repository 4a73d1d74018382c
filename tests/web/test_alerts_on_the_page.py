from __future__ import annotations

from typing import Any

from shazimd.text import path_fields
from shazimd.web.render import Templates

ALERT: dict[str, Any] = {
    **path_fields(b"/new/a.png"),
    **path_fields(b"/bank/b.png", "match"),
    "verdict": "copy",
    "matches": 1,
}


def shown(alert: dict[str, Any]) -> str:
    return Templates(lambda path: "link", lambda path: "1").text("_alert.html", alert=alert, fresh=False)


def test_an_alert_names_the_bank_of_its_match() -> None:
    """Also a name that is no text, whose control characters are shown as such."""
    assert "in the bank <b>/bank</b>" in shown({**ALERT, **path_fields(b"/bank", "bank")})
    assert "in the bank <b>/b\\x07&lt;</b>" in shown({**ALERT, **path_fields(b"/b\x07<", "bank")})
    assert "bank <b>" not in shown(ALERT)
