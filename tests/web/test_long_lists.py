"""A list of more groups than one page shows, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest
from browser import Browser
from fake_client import FakeClient
from page_serving import ServedPage

_TELLS_AN_EARLIER_CHANGE_TOO = """
    globalThis.IntersectionObserver = class extends IntersectionObserver {
        constructor(act, options) {
            super((changes, observer) => act([{ isIntersecting: false }, ...changes], observer), options);
        }
    };
"""

_HOLDS_FOLLOWING_GROUPS = """
    const ask = fetch;
    globalThis.fetch = async (...of) => {
        const response = await ask(...of);
        if (!String(of[0]).includes("offset")) return response;
        await new Promise((go) => { globalThis.release = go; });
        response.text = async () => {
            const text = await Response.prototype.text.call(response);
            setTimeout(() => { globalThis.wasRead = true; });
            return text;
        };
        return response;
    };
"""


@pytest.mark.parametrize("script", ["", _TELLS_AN_EARLIER_CHANGE_TOO], ids=["", "in a busy browser"])
def test_the_next_groups_are_appended_while_scrolling(
    browser: Browser, page: ServedPage, serve: Any, script: str
) -> None:
    """No page has to be turned."""
    _open(browser, serve(FakeClient(_many(page))))
    browser.run(script)
    browser.run("scrollTo(0, document.body.scrollHeight)")
    browser.until("return document.querySelectorAll('.card').length === 120")
    browser.run("scrollTo(0, document.body.scrollHeight)")
    browser.until("return document.querySelectorAll('.card').length === 150")
    browser.until("return document.getElementById('more') === null")


def test_the_next_groups_can_be_asked_for_again_when_they_did_not_come(
    browser: Browser, page: ServedPage, serve: Any
) -> None:
    """The link to them stays."""
    client = FakeClient(_many(page))
    _open(browser, serve(client))
    client.gone = "no daemon answers on /run/shazimd/shazimd.sock"
    browser.allowed = "status of"
    browser.run("globalThis.asked = 0; const ask = fetch; fetch = (...of) => ask(...of).finally(() => asked++)")
    browser.run("scrollTo(0, document.body.scrollHeight)")
    browser.until("return asked === 1")
    client.gone = ""

    browser.click("#more")
    browser.until("return document.querySelector('.card').dataset.group === arguments[0]", f"{60:064x}")


def test_groups_that_come_late_are_not_appended_to_another_list(browser: Browser, page: ServedPage, serve: Any) -> None:
    """The reader went to another list while they were asked for."""
    _open(browser, serve(FakeClient(_many(page))))
    browser.run(_HOLDS_FOLLOWING_GROUPS)
    browser.run("scrollTo(0, document.body.scrollHeight)")
    browser.until("return globalThis.release !== undefined")

    browser.run(
        "const verdict = document.querySelector('[name=verdict]');"
        "verdict.value = 'copy';"
        "verdict.dispatchEvent(new Event('change', { bubbles: true }))"
    )
    browser.until("return location.search.includes('copy') && document.querySelectorAll('.card').length === 60")
    browser.run("release()")
    browser.until("return globalThis.wasRead")
    assert browser.run("return document.querySelectorAll('.card').length") == 60


def test_of_two_visits_the_later_is_shown(browser: Browser, page: ServedPage, serve: Any) -> None:
    """Its answer may come first."""
    _open(browser, serve(FakeClient(_many(page))))
    browser.run(_HOLDS_FOLLOWING_GROUPS)
    browser.run("document.getElementById('more').click()")
    browser.until("return globalThis.release !== undefined")

    browser.run("document.querySelector('.cards').id = 'old'")
    browser.run("document.querySelector('.brand').click()")
    browser.until("return document.getElementById('old') === null")
    browser.run("release()")
    browser.until("return globalThis.wasRead")
    assert browser.run("return location.search") == ""


def _open(browser: Browser, page: ServedPage) -> None:
    """Open its link, and wait for the script of the page that this leads to."""
    browser.open(page.access.link())
    browser.until("return document.querySelectorAll('.js .card').length === 60")


def _many(page: ServedPage) -> list[dict[str, Any]]:
    """Three pages of groups."""
    return [page.client.every[0] | {"id": f"{n:064x}"} for n in range(150)]
