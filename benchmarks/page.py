"""How fast is the page at 100,000 images with 10,000 groups?

    python -m benchmarks.page [--images 100000] [--groups 10000] [--pairs 30] [--realtime]

A real daemon, `shazimctl web` and headless Chromium. The store is made up: a file and a row for each image, a relation
for each group; nothing is left to compare. The pictures of the first groups are of 12 megapixels, the others are
small. The first paint is the browser's own first contentful paint, and the time until all pictures in the window are
decoded, of a page that is opened for the first time (no thumbnail is cached) and again. The next pair is from the key
to both pictures painted; between two keys there is a second of looking. Needs chromium and chromium-driver.
Then twenty groups are settled with the keyboard, at a person's pace.
``--realtime`` leaves out the other work of a busy machine: what is measured has real-time priority, which needs root.
Goals: first paint under 1 s, next pair under 150 ms, twenty groups within two minutes.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.filling import WHOLE, put_picture, relate
from benchmarks.running import running
from shazimd.imaging.extract import Extractor
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import PictureFacts, Stat, digest_of

LARGE, SMALL = (4000, 3000), (640, 480)
LARGE_GROUPS = 40
SETTLED, LOOK_S = 20, 3.0
"""Groups settled with the keyboard, and the time that a person looks at each."""
PAINTED = (
    "const shown = [...document.images].filter(i => i.src && i.getBoundingClientRect().top < innerHeight);"
    "return shown.length > 3 && shown.every(i => i.complete && i.naturalWidth) && performance.now();"
)
NEXT_PAIR = """
const done = arguments[0], before = location.href, start = performance.now();
document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
const look = () => {
  const images = [...document.querySelectorAll(".canvas img")];
  if (location.href !== before && images.length === 2 && images.every((i) => i.complete && i.naturalWidth))
    requestAnimationFrame(() => done(performance.now() - start));
  else requestAnimationFrame(look);
};
look();
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--realtime", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), args.images, args.groups)
        with running(Path(folder)) as (_, client):
            status = client.status()
            print(f"{status['images']} images, {client.groups(limit=1)['total']} groups, state {status['state']}")
            with web(Path(folder)) as link, browser() as driver:
                if args.realtime:
                    put_first()
                measure(driver, link, args.pairs)


def put_first() -> None:
    """Give all processes started here, and those that they start from now on, real-time priority."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, OSError):  # short-lived processes of the browser end meanwhile
            for thread in process.threads():
                os.sched_setscheduler(thread.id, os.SCHED_RR, os.sched_param(1))


def measure(driver: Any, link: str, pairs: int) -> None:
    driver.get(link)
    address = link.partition("?")[0]
    for time_ in ("first", "second"):
        driver.get(address)
        whole = wait(driver, PAINTED)
        paint = driver.execute_script("return performance.getEntriesByName('first-contentful-paint')[0].startTime")
        print(f"{time_} visit: first paint {paint:.0f} ms, all pictures in the window {whole:.0f} ms")
    driver.find_element("css selector", ".pics").click()
    wait(driver, "return document.querySelector('.viewer') !== null")
    took = []
    for _ in range(pairs):
        time.sleep(1)
        took.append(driver.execute_async_script(NEXT_PAIR))
    print(f"next pair, {pairs} times: median {median(took):.0f} ms, worst {max(took):.0f} ms")
    settle(driver, address)


def settle(driver: Any, address: str) -> None:
    """Settle groups of the list with real keys, after a look at each."""
    from selenium.webdriver import ActionChains, Keys

    driver.get(address)
    wait(driver, PAINTED)
    answers = []
    started = time.monotonic()
    ActionChains(driver).send_keys(Keys.ARROW_RIGHT).perform()
    for settled in range(1, SETTLED + 1):
        time.sleep(LOOK_S)
        pressed = time.monotonic()
        ActionChains(driver).send_keys("n" if settled % 7 == 0 else "1").perform()
        wait(driver, f"return document.querySelectorAll('.card.done').length === {settled}")
        answers.append(1000 * (time.monotonic() - pressed))
    took_s, slowest_ms = time.monotonic() - started, max(answers)
    print(f"{SETTLED} groups settled in {took_s:.0f} s, {LOOK_S:.0f} s of looking each; slowest {slowest_ms:.0f} ms")


def wait(driver: Any, script: str) -> Any:
    end = time.monotonic() + 60
    while not (result := driver.execute_script(script)):
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain for: {script}")
        time.sleep(0.01)
    return result


@contextmanager
def web(folder: Path) -> Iterator[str]:
    """The page's process, with an empty cache; its link."""
    words = [sys.executable, "-c", "from shazimd.cli import main; main()", "--socket", str(folder / "s"), "web"]
    environ = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    with subprocess.Popen([*words, "--no-browser"], stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            process.terminate()


@contextmanager
def browser() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1440,900"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def make(folder: Path, images: int, groups: int) -> None:
    """The files and the store; the files of the first groups are the largest, and so are their savings."""
    root = folder / "root"
    pictures = {size: [drawn(seed, size) for seed in range(4)] for size in (LARGE, SMALL)}
    flat = Extractor(None, 10**9).fingerprint(encoded(Image.new("RGB", SMALL))).features
    store = open_store(str(folder / "store"), 2**31)
    for start in range(0, images, 5000):
        numbers = range(start, min(start + 5000, images))
        store.write(partial(add_all, root, numbers, groups, pictures, flat))
    store.close()


def add_all(
    root: Path, numbers: range, groups: int, pictures: dict[tuple[int, int], list[bytes]], flat: bytes, writer: Writer
) -> None:
    for n in numbers:
        add(writer, root, n, groups, pictures, flat)


def add(
    writer: Writer, root: Path, n: int, groups: int, pictures: dict[tuple[int, int], list[bytes]], flat: bytes
) -> None:
    """Image ``n``: the first 2 x ``groups`` are pairs, the others are alone and empty files."""
    size = LARGE if n < 2 * LARGE_GROUPS else SMALL
    data = pictures[size][n // 2 % 4] + b"%d" % n if n < 2 * groups else b"%d" % n
    path = root / f"{n // 1000:03}" / f"IMG_{n:06}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    high, low = (int(v) for v in np.random.default_rng(n).integers(0, 2**63, 2))
    files = {os.fsencode(path): Stat.of(path.stat())}
    content = put_picture(writer, digest_of(data), files, size, None, (high, low), flat, PictureFacts())
    if n % 2 and n < 2 * groups:
        relate(writer, content, content - 1, mapping=WHOLE)


def drawn(seed: int, size: tuple[int, int]) -> bytes:
    """A JPEG with detail everywhere."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.int16)
    return encoded(Image.fromarray((smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)))


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return file.getvalue()


if __name__ == "__main__":
    main()
