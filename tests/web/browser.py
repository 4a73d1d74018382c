"""Chromium, driven: what a person sees, clicks and types."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S, wait_for

DESK = (1440, 900)
PHONE = (390, 844)
SERIOUS = ("serious", "critical")


class Browser:
    """A browser window."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.allowed: str | None = None
        """part of the complaints that a test expects"""

    def begin(self, size: tuple[int, int] = DESK, *, dark: bool = False) -> None:
        """Forget the cookies, the settings and the complaints of the last test."""
        self.allowed = None
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        self.look(size, dark=dark)

    def look(self, size: tuple[int, int] = DESK, *, dark: bool = False) -> None:
        """The size of the window, and light or dark."""
        width, height = size
        phone = size == PHONE
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1 + phone, "mobile": phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}  # a test may look while something moves
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})

    def open(self, address: str) -> None:
        self.driver.get(address)

    def run(self, script: str, *values: Any) -> Any:
        return self.driver.execute_script(script, *values)

    def until(self, script: str, *values: Any) -> Any:
        """Wait until the script's result is true, and return it."""
        from selenium.common.exceptions import JavascriptException

        reason: object = "not true"

        def holds() -> Any:
            nonlocal reason
            try:
                return self.run(script, *values)
            except JavascriptException as error:
                reason = error
                return None

        return wait_for(holds, lambda: f"{script} ({reason}); {self.text()[:800]}")

    def text(self, selector: str = "body") -> str:
        """The text that is seen."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def has_text(self, text: str, selector: str = "body") -> None:
        """Wait for a text."""
        script = "return document.querySelector(arguments[1])?.innerText.includes(arguments[0])"
        self.until(script, text, selector)

    def click(self, selector: str) -> None:
        from selenium.common.exceptions import StaleElementReferenceException

        clicked = False
        while not clicked:
            self.until("return document.querySelector(arguments[0]) !== null", selector)
            with suppress(StaleElementReferenceException):  # the page was replaced meanwhile
                self.driver.find_element("css selector", selector).click()
                clicked = True

    def type(self, *keys: str) -> None:
        """Type keys, into whatever has the focus."""
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def hold(self, key: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).key_down(key).perform()

    def release(self, key: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).key_up(key).perform()

    def replaces(self, selector: str) -> None:
        """Click what leads to another document, and wait for that: the old one may look like it."""
        self.run("globalThis.isOld = true")
        self.click(selector)
        self.until("return globalThis.isOld === undefined && document.readyState === 'complete'")

    def keep_messages(self) -> None:
        """Have no message of this document vanish: after some seconds, a busy test would look too late."""
        self.run(
            "const later = globalThis.setTimeout;"
            "globalThis.setTimeout = (act, ms, ...more) => ms < 5000 ? later(act, ms, ...more) : 0"
        )

    def pictures_shown(self) -> None:
        """Wait until every picture in the window is decoded."""
        self.until(
            "const shown = [...document.images].filter(i => i.src && i.getBoundingClientRect().top < innerHeight);"
            "return Promise.all(shown.map(i => i.decode())).then(() => shown.every(i => i.naturalWidth > 0))"
        )

    def complaints(self) -> list[str]:
        """Errors on the console since the last call: scripts, refused loads, the content security policy."""
        found = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        return [message for message in found if self.allowed is None or self.allowed not in message]

    def faults(self) -> list[str]:
        """Serious faults that axe-core finds in the page."""
        import axe_core_python

        if self.run("return globalThis.axe === undefined"):
            self.run((Path(axe_core_python.__file__).parent / "axe.min.js").read_text())
        found = self.driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
        return [
            f"{fault['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
            for fault in found["violations"]
            if fault["impact"] in SERIOUS
            for node in fault["nodes"]
        ]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium of the system; the test is skipped where it is absent."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("a browser is needed: apt-get install chromium chromium-driver")
    selenium = pytest.importorskip("selenium.webdriver")
    options = selenium.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    window.set_script_timeout(PATIENCE_S)  # of 30 s
    try:
        yield Browser(window)
    finally:
        window.quit()
