"""The page in a real browser: clicked and typed as a person does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from browser import PHONE, Browser
from page_serving import ServedPage
from patience import wait_for
from scenery import landscape
from selenium.webdriver.common.keys import Keys


def decided(page: ServedPage) -> list[tuple[str, list[str]]]:
    return [(d["kind"], d["contents"]) for d in page.client.made.values()]


def contents(group: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(member["content"] for member in group["members"]))


def test_groups_are_shown_with_their_pictures(browser: Browser, page: ServedPage) -> None:
    """Pictures first, the largest saving first, with verdicts and the reason for the one to keep."""
    browser.pictures_shown()

    names = browser.run("return [...document.querySelectorAll('.card .name')].map(n => n.innerText)")
    assert [os.path.basename(group["members"][0]["path"]) for group in page.client.every] == names
    assert "keep" in browser.text(".card .chip.keep")
    assert "most detail, has camera metadata" in browser.text(".card .why")


def test_twenty_keys_settle_a_list(browser: Browser, page: ServedPage) -> None:
    """Arrows move, a number keeps, n tells that a group is none, l leaves all; the next group has the focus."""
    groups = page.client.every
    browser.type(Keys.ARROW_RIGHT, "1")
    browser.until("return document.querySelectorAll('.card.done').length === 1")
    browser.type("2")
    browser.until("return document.querySelectorAll('.card.done').length === 2")
    browser.type("n")
    browser.until("return document.querySelectorAll('.card.done').length === 3")
    browser.type("l")
    browser.until("return document.querySelectorAll('.card.done').length === 4")

    kinds = [kind for kind, _ in decided(page)]
    kept = [d["keep"] for d in page.client.made.values() if d["keep"]]
    assert (
        ["keep", "keep", "not_duplicates", "leave"],
        [groups[0]["members"][0]["content"], groups[1]["members"][1]["content"]],
    ) == (kinds, kept)
    assert [contents(group) for group in groups[:4]] == [about for _, about in decided(page)]


def test_u_undoes_the_latest_decision(browser: Browser, page: ServedPage) -> None:
    """In the list and in a group; the group is there again, undecided."""
    browser.type(Keys.ARROW_RIGHT, "1")
    browser.until("return document.querySelectorAll('.card.done').length === 1")
    browser.type("u")
    browser.until("return document.querySelectorAll('.card.done').length === 0")
    assert {} == page.client.made

    browser.type(Keys.ENTER)
    browser.until("return document.querySelector('.viewer') !== null")
    first = browser.driver.current_url
    browser.type("n")
    browser.until("return location.href !== arguments[0]", first)
    browser.type("u")
    browser.until("return location.href === arguments[0]", first)
    assert {} == page.client.made


def test_a_mind_may_be_changed(browser: Browser, page: ServedPage) -> None:
    """A second decision on a group replaces the first."""
    browser.click(".card .pics")
    browser.until("return document.querySelector('.viewer') !== null")
    first = browser.driver.current_url
    browser.type("1")
    browser.until("return location.href !== arguments[0]", first)
    browser.type(Keys.ARROW_LEFT)
    browser.until("return location.href === arguments[0]", first)
    browser.has_text("Keep IMG", ".decided")
    browser.type("2")
    browser.until("return location.href !== arguments[0]", first)

    assert [page.client.every[0]["members"][1]["content"]] == [d["keep"] for d in page.client.made.values()]


def order_anew(browser: Browser, page: ServedPage, group: dict[str, Any], members: list[dict[str, Any]]) -> None:
    """Have the daemon answer with other members, in another tab."""
    changed = group | {"members": members}
    page.client.every[page.client.every.index(group)] = page.client.by_id[group["id"]] = changed
    browser.run("return fetch('/')")


def test_a_number_keeps_the_picture_that_was_shown(browser: Browser, page: ServedPage) -> None:
    """Though another tab has had the list read anew meanwhile, in which another file is the first; and the kept file
    is marked as such wherever it stands."""
    group = page.client.every[0]
    first, last = group["members"][0], group["members"][-1]
    assert first["content"] != last["content"]
    browser.type(Keys.ARROW_RIGHT)
    order_anew(browser, page, group, group["members"][::-1])
    browser.type("1")
    browser.until("return document.querySelectorAll('.card.done').length === 1")
    assert [first["content"]] == [made["keep"] for made in page.client.made.values()]
    kept = "return [...document.querySelectorAll('.card')[0].querySelectorAll('figure')].map(f => f.className)"
    assert "keep" == browser.run(kept)[0]
    browser.open(f"{page.address}/?decided=true")
    browser.until("return document.querySelectorAll('.card').length === 1")
    shown = browser.run("return document.querySelector('.card figure.keep img').alt")
    assert (["keep", ""], os.path.basename(first["path"])) == (browser.run(kept)[:2], shown)


def test_not_this_one_is_about_the_two_that_were_shown(browser: Browser, page: ServedPage) -> None:
    """Though another file is the group's first by then."""
    group = next(group for group in page.client.every if len(contents(group)) > 2)
    first, *others, last = group["members"]
    shown = f"{page.address}/group/{group['id']}?with={len(others) + 1}"
    browser.open(shown)
    browser.until("return document.querySelector('.viewer') !== null")
    order_anew(browser, page, group, [*others, last, first])
    browser.type("n")
    browser.until("return location.href !== arguments[0]", shown)
    assert [("not_duplicates", {first["content"], last["content"]})] == [
        (kind, set(about)) for kind, about in decided(page)
    ]


@pytest.mark.parametrize("key", ["1", "l"])
def test_a_group_that_has_changed_is_not_decided(browser: Browser, page: ServedPage, key: str) -> None:
    """A file that was not shown has joined it: the page says so. Shown anew, the group is decided."""
    group, other = page.client.every[:2]
    browser.keep_messages()
    browser.click(".card .pics")
    browser.until("return document.querySelector('.viewer') !== null")
    shown = browser.driver.current_url
    order_anew(browser, page, group, [*group["members"], other["members"][0]])
    browser.type(key)
    browser.has_text("The group has changed since it was shown: nothing was decided", "#said.problem")
    assert ({}, shown) == (page.client.made, browser.driver.current_url)
    browser.open(shown)
    browser.until("return document.querySelector('.viewer') !== null")
    browser.type(key)
    browser.until("return location.href !== arguments[0]", shown)
    assert [[*contents(group), other["members"][0]["content"]]] == [about for _, about in decided(page)]
    browser.allowed = "status of"  # the answer's status is 400


def pair_with(browser: Browser, page: ServedPage, edit: str) -> None:
    """Open the pair of an original and an edit of it."""
    for group in page.client.every:
        for place, member in enumerate(group["members"]):
            if edit in member["path"]:
                browser.open(f"{page.address}/group/{group['id']}?with={place}")
                browser.pictures_shown()
                return
    raise AssertionError(f"no group has a picture that is {edit}")


def corners(browser: Browser, side: str) -> list[float]:
    """Left, top, right and bottom of a picture on the screen."""
    box = "const b = document.querySelector(`.pane.${arguments[0]} img`).getBoundingClientRect();"
    found: list[float] = browser.run(f"{box} return [b.left, b.top, b.right, b.bottom]", side)
    return found


@pytest.mark.parametrize("edit", ["cropped", "mirrored", "turned", "framed", "small"])
def test_a_picture_is_laid_over_the_other_where_it_belongs(browser: Browser, page: ServedPage, edit: str) -> None:
    """The difference of an edited copy and its original is nearly black where both show the same."""
    pair_with(browser, page, edit)
    browser.type("d")
    browser.until("return document.querySelector('.viewer').dataset.mode === 'difference'")
    browser.run("document.querySelector('.viewer').style.filter = 'none'")

    a, b = corners(browser, "a"), corners(browser, "b")
    inside = max(a[0], b[0]) + 9, max(a[1], b[1]) + 9, min(a[2], b[2]) - 9, min(a[3], b[3]) - 9
    shot = screenshot(browser).crop(tuple(int(v) for v in inside)).convert("L")
    average = sum(value * count for value, count in enumerate(shot.histogram())) / (shot.width * shot.height)
    assert average < 6


def screenshot(browser: Browser) -> Any:
    import io

    from PIL import Image

    return Image.open(io.BytesIO(browser.driver.get_screenshot_as_png()))


def test_views_of_a_pair(browser: Browser, page: ServedPage) -> None:
    """Space blinks while it is held, w slides, + and - zoom both, m hides the map."""
    pair_with(browser, page, "cropped")
    visible = (
        "return getComputedStyle(document.querySelector('.pane.b')).visibility"
        " + document.querySelector('.viewer').dataset.mode"
    )

    browser.hold(" ")
    browser.until(f"{visible} === 'visibleblink'")
    browser.release(" ")
    browser.until(f"{visible} === 'visibleside'")
    browser.type("w")
    browser.until("return document.querySelector('.pane.b').style.clipPath.includes('50%')")
    browser.run("const w = document.querySelector('.wiper'); w.value = 20; w.dispatchEvent(new Event('input'))")
    browser.until("return document.querySelector('.pane.b').style.clipPath.includes('20%')")
    browser.type("s")

    before = [corners(browser, side) for side in "ab"]
    browser.type("+", "+", "+")
    after = [corners(browser, side) for side in "ab"]
    for small, large in zip(before, after, strict=True):
        assert large[2] - large[0] > 1.8 * (small[2] - small[0])
    browser.type("0")
    assert before == [corners(browser, side) for side in "ab"]

    browser.until("return document.querySelectorAll('.points line').length > 5")
    assert "visible" == browser.run("return getComputedStyle(document.querySelector('.map')).visibility")
    browser.type("m")
    assert "none" == browser.run("return getComputedStyle(document.querySelector('.map')).display")
    browser.type("m")


def test_a_relation_is_told_in_words(browser: Browser, page: ServedPage) -> None:
    """With the facts that differ set off."""
    pair_with(browser, page, "cropped")

    assert "2 is 1, cropped to 58% of it" in browser.text("h1")
    assert "1,200 \u00d7 800" in browser.text(".facts tr.differs:not(.place)")


def test_many_groups_are_decided_by_a_rule_after_a_preview(browser: Browser, page: ServedPage) -> None:
    """The preview decides nothing; what it shows is decided then, and undone at once."""
    total = len(page.client.every)
    browser.click("a[href^='/rules']")
    browser.click("input[value=largest]")
    browser.click(".rule button")
    browser.has_text("would be decided")
    shown = int(browser.text("section h2").split()[0])
    assert ({}, True) == (page.client.made, 0 < shown < total)

    browser.click("section form button")
    browser.has_text("decided:", ".bar")
    assert shown == len(page.client.made)

    browser.click(".bar button")
    browser.until("return document.querySelector('.bar') === null")
    assert {} == page.client.made


def test_a_decision_of_a_rule_is_changed_alone(browser: Browser, page: ServedPage) -> None:
    """Those that the rule made with it stay."""
    browser.click("a[href^='/rules']")
    browser.click("input[value=largest]")
    browser.click(".rule button")
    browser.click("section form button")
    browser.has_text("decided:", ".bar")
    made = dict(page.client.made)
    kept = list(made.values())[-1]
    group = next(
        each["id"] for each in page.client.every if {m["content"] for m in each["members"]} <= set(kept["contents"])
    )
    browser.open(f"{page.address}/group/{group}")
    browser.type("1" if kept["keep"] != group else "2")
    wait_for(lambda: page.client.made != made and len(page.client.made) == len(made))
    assert made.keys() - page.client.made.keys() == {kept["id"]}


def test_a_filter_narrows_the_list(browser: Browser, page: ServedPage) -> None:
    """The address keeps the filter; decided groups are shown on request."""
    browser.type(Keys.ARROW_RIGHT, "1")
    browser.until("return document.querySelectorAll('.card.done').length === 1")
    made = dict(page.client.made)
    browser.type(Keys.ARROW_LEFT, "2")  # whose button a decided card does not show
    browser.run(
        "const s = document.querySelector('select[name=decided]'); s.value = 'true';"
        "s.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    browser.has_text("1 group\n")
    assert "decided=true" in browser.driver.current_url
    assert made == page.client.made


def test_an_alert_appears_as_it_comes(browser: Browser, page: ServedPage) -> None:
    """On any page, and on top of the list of new arrivals."""
    first, other = page.client.every[0]["members"][:2]
    browser.keep_messages()
    browser.until("return !document.getElementById('state').hidden")
    alert = alert_of(other, first)
    page.client.coming.put(alert)
    browser.has_text(os.path.basename(other["path"]), "#toasts")
    assert browser.run("return document.querySelector('.alert').getBoundingClientRect().right <= innerWidth")

    browser.click("nav a[href='/new']")
    browser.has_text(os.path.basename(other["path"]), ".alerts")
    page.client.coming.put(alert | {"id": 2, "path": "/srv/photos/<b>fresh.jpg"})
    browser.has_text("<b>fresh.jpg", ".alerts .alert")
    browser.allowed = "status of"  # the file does not exist, so its picture is answered with 404


def test_a_new_arrival_is_compared_with_its_match(browser: Browser, page: ServedPage) -> None:
    """Also one that is in no group, such as a variant: the regions that differ are drawn."""
    first, other = next(g["members"][:2] for g in page.client.every if g["members"][1]["verdict"] == "copy")
    browser.keep_messages()
    browser.until("return !document.getElementById('state').hidden")
    page.client.coming.put({**alert_of(other, first), "verdict": "variant"})
    browser.click("#toasts a.two")
    browser.has_text("2 has the template of 1, with other content", "h1")
    browser.has_text("20% of it differs, in 1 place", ".side")
    assert 1 == browser.run("return document.querySelectorAll('.pane.a .differ').length")
    assert [other["content"], first["content"]] == page.client.compared
    assert [] == browser.faults()


def alert_of(member: dict[str, Any], match: dict[str, Any]) -> dict[str, Any]:
    return {"id": 1, "path": member["path"], "match": match["path"], "verdict": "copy", "matches": 1, "score": 0.9}


def test_a_fault_of_the_page_is_shown(browser: Browser, page: ServedPage, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its kind; its traceback is in the terminal."""
    monkeypatch.setattr(page.client, "failed", lambda: 1 // 0)
    browser.click("nav a[href='/failed']")
    browser.has_text("ZeroDivisionError")
    browser.allowed = "status of"


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
def test_a_picture_is_asked_about(browser: Browser, page: ServedPage, way: str, tmp_path: Path) -> None:
    """Dropped on any page, pasted, or chosen: have we had this picture before?"""
    known = page.client.every[0]["members"][0]
    page.client.known = known
    picture = tmp_path / "asked.png"
    landscape(3, (300, 200)).save(picture)
    if way == "choose":
        browser.open(f"{page.address}/ask")
        browser.driver.find_element("css selector", "input[type=file]").send_keys(str(picture))
    else:
        name, field = {"drop": ("DragEvent", "dataTransfer"), "paste": ("ClipboardEvent", "clipboardData")}[way]
        browser.run(
            "const bytes = Uint8Array.from(arguments[3]); const d = new DataTransfer();"
            "d.items.add(new File([bytes], 'asked.png', {type: 'image/png'}));"
            "const made = new globalThis[arguments[1]](arguments[0], {[arguments[2]]: d, bubbles: true});"
            "document.body.dispatchEvent(made)",
            *(way, name, field, list(picture.read_bytes())),
        )
    browser.has_text("Yes: 1 file of it")
    browser.has_text(os.path.basename(known["path"]), ".match")
    browser.until("return document.querySelector('.preview img')?.naturalWidth === 300")
    assert page.client.asked == picture.read_bytes()


def test_a_file_that_is_no_picture_is_told_from_one(browser: Browser, page: ServedPage, tmp_path: Path) -> None:
    """The answer says why."""
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    browser.open(f"{page.address}/ask")
    browser.driver.find_element("css selector", "input[type=file]").send_keys(str(text))

    browser.has_text("can't be read as a picture")
    browser.allowed = "status of"  # the answer's status is 400


def test_failed_files_are_listed_and_tried_again(browser: Browser, page: ServedPage) -> None:
    """Each with its reason, its size and since when."""
    page.client.broken = [
        {
            "path": "/srv/photos/broken.tif",
            "code": "not_an_image",
            "reason": "truncated",
            "size_bytes": 1200,
            "since": 1.7e9,
        },
        {
            "path": "/srv/photos/old.gif",
            "code": "too_large",
            "reason": "too many pixels",
            "size_bytes": None,
            "since": None,
        },
    ]
    browser.click("nav a[href='/failed']")
    browser.has_text("2 files could not be read")
    assert "truncated" in browser.text("table")
    browser.replaces("td button")
    browser.replaces(".head button")
    browser.has_text("2 files could not be read")
    assert [b"/srv/photos/broken.tif", None] == page.client.retried


def test_a_clean_up_is_previewed_applied_and_undone(browser: Browser, page: ServedPage) -> None:
    """Decide on the page, see every file, apply; then take all of it back."""
    group = page.client.every[0]
    files = [Path(member["path"]) for member in group["members"]]
    before = {path: path.read_bytes() for path in files}
    browser.type(Keys.ARROW_RIGHT, "1")
    browser.until("return document.querySelectorAll('.card.done').length === 1")
    browser.click("nav a[href='/clean']")
    browser.click("form.rule > button")
    browser.has_text("Nothing was changed so far")
    browser.pictures_shown()  # those of files that are gone would be complained about
    assert all(path.exists() for path in files)

    browser.click("form[action='/clean/apply'] button")
    browser.has_text(f"{len(files) - 1} file{'s' if len(files) > 2 else ''} cleaned up")
    assert [files[0]] == [path for path in files if path.exists()]

    browser.click(".outcome form button")
    browser.has_text("taken back")
    assert before == {path: path.read_bytes() for path in files}


def test_a_vanished_file_is_shown_as_such(browser: Browser, page: ServedPage) -> None:
    """In the list, in the pair, and the clean-up leaves its group alone."""
    gone = Path(page.client.every[0]["members"][1]["path"])
    gone.unlink()
    browser.click(".card .pics")
    browser.has_text("no longer there", ".pane.b")
    first = browser.driver.current_url
    browser.type("1")
    browser.until("return location.href !== arguments[0]", first)
    browser.click("nav a[href='/clean']")
    browser.click("form.rule > button")
    browser.has_text(f"{gone}: no such file")
    browser.allowed = "status of"  # the picture is answered with 404


def test_a_daemon_that_has_gone_is_told(browser: Browser, page: ServedPage) -> None:
    """Its absence is shown, and a decision says that nothing was stored."""
    browser.keep_messages()
    page.client.gone = "the daemon is not running; start it with `shazimd DIR`"
    browser.has_text("The daemon does not answer", "#state")
    browser.type(Keys.ARROW_RIGHT, "1")
    browser.has_text("the daemon is not running", "#said.problem")
    browser.open(page.address)
    browser.has_text("the daemon is not running", "main")
    browser.allowed = "status of"  # answers of status 503


PAGES = ["/", "/new", "/ask", "/failed", "/decisions", "/clean", "/rules?rule=suggested", "/group/FIRST", "/nowhere"]


def test_no_serious_fault_of_accessibility(browser: Browser, page: ServedPage) -> None:
    """By axe-core, on every page, in light and in dark."""
    page.client.broken = [{"path": "/a.tif", "code": "x", "reason": "truncated", "size_bytes": 12, "since": 1.7e9}]
    browser.type(Keys.ARROW_RIGHT, "1")
    browser.until("return document.querySelectorAll('.card.done').length === 1")
    found = {}
    for path in PAGES:
        browser.look()
        browser.open(page.address + path.replace("FIRST", page.client.every[1]["id"]))
        found[path, "light"] = browser.faults()
        browser.look(dark=True)
        found[path, "dark"] = browser.faults()
    browser.allowed = "status of"  # /nowhere is answered with 404
    assert {(path, colours): [] for path in PAGES for colours in ("light", "dark")} == found


@pytest.mark.parametrize("path", ["/", "/group/FIRST", "/clean", "/decisions"])
def test_a_phone_shows_a_page_without_scrolling_sideways(browser: Browser, page: ServedPage, path: str) -> None:
    """Everything lies within the width of the screen."""
    browser.look(PHONE)
    browser.open(page.address + path.replace("FIRST", page.client.every[0]["id"]))

    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def test_without_its_script_the_page_works(chrome: Browser, page: ServedPage) -> None:
    """As links and forms."""
    chrome.begin()
    chrome.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chrome.open(page.access.link())
        chrome.open(page.address)
        first = chrome.driver.find_element("css selector", ".card .decide button")
        first.click()
        chrome.until("return document.querySelector('.viewer') !== null")
    finally:
        chrome.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert [("keep", contents(page.client.every[0]))] == decided(page)


def test_a_match_on_another_host_is_named_in_place_of_its_picture(browser: Browser, page: ServedPage) -> None:
    """In the alerts and in an answer: no picture is broken, and there is nothing to compare side by side."""
    known, _ = page.client.every[0]["members"][:2]
    elsewhere = {"path": "nas2:/srv/<b>photos/a & b.jpg"}
    browser.until("return !document.getElementById('state').hidden")
    page.client.coming.put(alert_of(known, elsewhere))
    browser.click("nav a[href='/new']")
    browser.has_text("matches a & b.jpg on nas2", ".alerts")
    assert 0 == browser.run("return document.querySelectorAll('.alerts a').length")
    browser.until("return [...document.querySelectorAll('.alerts img')].every(image => image.naturalWidth > 0)")
    placeholder = browser.run("return document.querySelectorAll('.alerts img')[1].src")
    fetched = "const r = new XMLHttpRequest(); r.open('GET', arguments[0], false); r.send(); return r.responseText"
    shown = browser.run(fetched, placeholder)
    assert ("on nas2</text>" in shown, ">a &amp; b.jpg</text>" in shown) == (True, True)
    assert [] == browser.faults()
