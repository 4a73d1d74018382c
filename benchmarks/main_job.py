"""How fast and how small is the main job? One run, one table.

    python -m benchmarks.main_job [--images 10000] [--alerts 300]

Against: the original's loop (``seed_loop``) on the same photos and model, and `python3 -c pass`. Needs the shared
photos and model ($SHAZIMD_SHARED, or ``shared`` beside the checkout) and the extra ``model``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import psutil
from PIL import Image, ImageOps

from benchmarks import libraries
from benchmarks.resident import resident_of
from benchmarks.running import cpu_s
from shazimd.client import Client
from shazimd.config import WatchConfig, WorkersConfig
from shazimd.imaging.extract import Extractor
from shazimd.imaging.verify import verify_all
from shazimd.models.model import EmbeddingModel
from shazimd.models.registry import Registry
from shazimd.posix import memory
from shazimd.workers.keeper import IDLE_S

SCRIPTS = Path(sys.executable).parent
STRANGERS_EVERY = 14
"""One photo in so many stays unknown, to be asked about."""
ASKED_EVERY = 11
"""Of these photos, one in so many is asked about."""
QUERIES = 100
QUESTIONS = 10
"""of a daemon that knows nothing"""
MAX_PIXELS = WorkersConfig().max_pixels
SETTLE_MS = WatchConfig(path="/").settle_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--alerts", type=int, default=300)
    options = parser.parse_args()
    shared = Path(os.environ.get("SHAZIMD_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    photos = sorted(shared.glob("data/photos/*/*.jpg"))
    strangers = photos[::STRANGERS_EVERY]
    del photos[::STRANGERS_EVERY]
    model = shared / "models" / "mobilenet_v2_100_224_feature_vector"
    memory.keep_freed_memory()  # as a worker does, for the fingerprints made here
    cv2.setNumThreads(1)
    if not photos:
        raise SystemExit(f"{shared}: no photos there; set SHAZIMD_SHARED")
    with tempfile.TemporaryDirectory(prefix="sz-") as folder:
        table = list(measure(Path(folder), photos, strangers, str(model), options.images, options.alerts))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| what | shazimd | against | limit |\n|---|---|---|---|")
    for row in table:
        print(f"| {' | '.join(row)} |")


def measure(
    folder: Path, photos: list[Path], strangers: list[Path], model: str, images: int, alerts: int
) -> Iterator[tuple[str, ...]]:
    root = folder / "root"
    root.mkdir()
    seed_rate = _seed_loop(folder, photos, model)
    Registry(str(folder / "store" / "models")).install(model)
    resident_at_least = _resident_of_nothing(folder, photos, model)
    bounds = _bounds(folder, photos, model)
    _fill(root, photos, images)
    (folder / "plain").write_text("[match]\nverify = false\n")
    with _daemon(folder, root, model, "--config", str(folder / "plain")) as (process, log):
        yield from _ingest_rows(
            "ingest, the three signals (verify = false), images/s", folder, log, images, seed_rate, bounds[0], process
        )
    shutil.rmtree(folder / "store" / "index")
    for name in ("data.mdb", "lock.mdb"):
        (folder / "store" / name).unlink(missing_ok=True)
    with _daemon(folder, root, model) as (process, log):
        yield from _ingest_rows(
            "ingest, local features too (the default), images/s", folder, log, images, seed_rate, bounds[1], process
        )
        _wait(log, lambda events: any(e["event"] == "baseline_complete" for e in events), process)
        least = f"nothing known, a second after the first questions: {resident_at_least}"
        yield f"resident at {images:,} images, MiB", _resident(process), least, "200"
        yield from _answers(
            "while all are compared", folder, photos, strangers, model, log, range(alerts // 2), process
        )
        started = time.monotonic()
        subprocess.run([SCRIPTS / "shazimctl", "--socket", folder / "s", "wait", "--compared"], check=True)
        yield "from then on to the end of the comparison, s", f"{time.monotonic() - started:.0f}", "", ""
        yield from _answers("at rest", folder, photos, strangers, model, log, range(alerts // 2, alerts), process)
        time.sleep(IDLE_S + 5)  # the spare worker has ended, the others have given back what they need no more
        yield "resident a minute later, MiB", _resident(process), "", "200"
        status = _median_ms([str(SCRIPTS / "shazimctl"), "--socket", str(folder / "s"), "status"])
        bare = _median_ms([sys.executable, "-c", "pass"])
        yield "shazimctl status, ms", f"{status:.0f}", f"python3 -c pass: {bare:.0f}", f"3 x ({status / bare:.1f} x)"


def _answers(
    when: str,
    folder: Path,
    photos: list[Path],
    strangers: list[Path],
    model: str,
    log: Path,
    copies: range,
    process: psutil.Process,
) -> Iterator[tuple[str, ...]]:
    """The daemon's answers while it compares all pictures with each other, or afterwards."""
    known = sorted((folder / "root").glob("*/*.jpg"))
    yield _find_row(f"find, server side, copies known, {when}, ms", folder, photos, model, known)
    yield _find_row(f"find, server side, no copy known, {when}, ms", folder, strangers, model, [])
    late = sorted(_alert_delays(folder / "root", photos, log, copies, process))
    p99 = late[int(0.99 * (len(late) - 1))]
    answer = f"median {statistics.median(late):.0f}, 99th percentile {p99:.0f}"
    yield (
        f"close to alert line less the settling of {SETTLE_MS} ms, {when}, ms",
        answer,
        "",
        "100 at the 99th percentile",
    )
    yield f"resident then, {when}, MiB", _resident(process), "", "200"


def _ingest_rows(
    what: str, folder: Path, log: Path, images: int, seed_rate: float, bound: float, process: psutil.Process
) -> Iterator[tuple[str, ...]]:
    started = datetime.fromisoformat(next(e for e in _events(log) if e["event"] == "root_watched")["timestamp"])
    subprocess.run([SCRIPTS / "shazimctl", "--socket", folder / "s", "wait"], check=True)
    rate = images / (time.time() - started.timestamp())
    times = rate / seed_rate
    against = f"the original's loop: {seed_rate:.0f}; shazimd's libraries alone, on all processors: {bound:.0f}"
    yield what, f"{rate:.0f}", against, f"5 x ({times:.1f} x)"
    own_ms = 1000 * cpu_s(process) / images
    yield "the daemon's own processor time for it, start included, ms an image", f"{own_ms:.2f}", "", "1.2"


def _bounds(folder: Path, photos: list[Path], model: str) -> tuple[float, float]:
    """Images a second that the libraries make, without and with key points."""
    found = Registry(str(folder / "store" / "models")).find(model)
    assert found is not None
    opened = EmbeddingModel(found)
    tables = [libraries.cpu_s(path.read_bytes(), opened) for path in photos[:: len(photos) // 50]]
    all_s = statistics.mean(sum(table.values()) for table in tables)
    points_s = statistics.mean(table[libraries.KEY_POINTS] for table in tables)
    processors = os.cpu_count() or 1
    return processors / (all_s - points_s), processors / all_s


def _resident_of_nothing(folder: Path, photos: list[Path], model: str) -> str:
    """Of a daemon without a picture, whose workers have answered: what interpreters, libraries and models take."""
    (folder / "empty").mkdir()
    with _daemon(folder, folder / "empty", model) as (process, _):
        client = Client(str(folder / "s"))
        for picture in _asked(photos, QUESTIONS):
            client.find(picture)
        time.sleep(1)
        return _resident(process)


def _seed_loop(folder: Path, photos: list[Path], model: str) -> float:
    (folder / "list").write_text("\n".join(map(str, photos[::7])))
    command = [sys.executable, "-m", "benchmarks.seed_loop", model, str(folder / "list")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return float(done.stdout.split()[0])


def _fill(root: Path, photos: list[Path], images: int) -> None:
    """The photos, then crops of them, each another picture: as many as asked, in folders of 500."""
    for number in range(images):
        source = photos[number % len(photos)]
        target = root / f"{number // 500:03}" / f"{number:06}.jpg"
        target.parent.mkdir(exist_ok=True)
        if number < len(photos):
            target.write_bytes(source.read_bytes())
            continue
        cut(source, target, 0.04 * (number // len(photos)))


def cut(source: Path, target: Path, margin: float) -> None:
    """Write a photo without a share of its left side, and half as much at the top and the bottom."""
    with Image.open(source) as photo:
        box = (margin * photo.width, margin * photo.height / 2, photo.width, (1 - margin / 2) * photo.height)
        photo.crop(box).resize(photo.size).save(target, quality=88)


@contextmanager
def _daemon(folder: Path, root: Path, model: str, *more: str) -> Iterator[tuple[psutil.Process, Path]]:
    log = folder / "log"
    options = ["--store", folder / "store", "--socket", folder / "s", "--model", model, "--log-format", "json", *more]
    with log.open("wb") as stream:
        process = psutil.Popen(list(map(str, [SCRIPTS / "shazimd", root, *options])), stderr=stream)
    try:
        _wait(log, lambda events: any(event["event"] == "root_watched" for event in events), process)
        yield process, log
    finally:
        process.terminate()
        process.wait()


def _events(log: Path) -> list[dict[str, Any]]:
    *lines, _ = log.read_text().split("\n")
    return [json.loads(line) for line in lines]


def _wait(log: Path, condition: Callable[[list[dict[str, Any]]], bool], process: psutil.Process) -> None:
    while not condition(_events(log)):
        if not process.is_running():
            raise SystemExit(log.read_text())
        time.sleep(0.05)


def _alert_delays(root: Path, photos: list[Path], log: Path, copies: range, process: psutil.Process) -> Iterator[float]:
    """Milliseconds from close to the alert's line, beyond the settling, for smaller copies dropped one at a time."""
    for number in copies:
        path = root / f"copy{number}.jpg"
        with Image.open(photos[number * 3 % len(photos)]) as photo:
            photo.resize((photo.width * 3 // 4, photo.height * 3 // 4)).save(path)
        closed = path.stat().st_mtime

        def is_told(events: list[dict[str, Any]], path: str = str(path)) -> bool:
            return any(event.get("path") == path for event in events)

        _wait(log, is_told, process)
        told = next(event for event in _events(log) if event.get("path") == str(path))
        yield (datetime.fromisoformat(told["timestamp"]).timestamp() - closed) * 1000 - SETTLE_MS


def _find_row(what: str, folder: Path, photos: list[Path], model: str, known: list[Path]) -> tuple[str, ...]:
    """``known``: the files whose copies the photos are, in their order, again and again."""
    took = answers_ms(Client(str(folder / "s")), photos, QUERIES)
    answer = f"median {statistics.median(took):.0f}, 99th percentile {sorted(took)[int(0.99 * QUERIES) - 1]:.0f}"
    found = Registry(str(folder / "store" / "models")).find(model)
    assert found is not None
    extractor = Extractor(EmbeddingModel(found), MAX_PIXELS)
    whole, points = _fingerprint_ms(extractor, photos)
    least = f"the fingerprint's processor time: {whole:.0f}, of that the points: {points:.0f}"
    if known:
        least += f"; that of comparing it with each copy: {_comparing_ms(extractor, photos, known):.0f}"
    return what, answer, least, "25 at the median"


def answers_ms(client: Client, photos: list[Path], queries: int) -> list[float]:
    """The daemon's own time for smaller, mirrored copies of photos, asked one after the other."""
    return [client.find(picture)["took_ms"] for picture in _asked(photos, queries)]


def _asked(photos: list[Path], queries: int) -> Iterator[bytes]:
    for number in range(queries):
        with Image.open(photos[number * ASKED_EVERY % len(photos)]) as photo:
            buffer = io.BytesIO()
            ImageOps.mirror(photo).resize((photo.width * 3 // 4, photo.height * 3 // 4)).save(buffer, "JPEG")
        yield buffer.getvalue()


def _fingerprint_ms(extractor: Extractor, photos: list[Path]) -> tuple[float, float]:
    """Medians of the processor time that the same pictures take here: for all of the fingerprint, and for the part that
    one of two workers does, the decode included."""
    steps: list[Callable[[bytes], object]] = [extractor.query, extractor.points]
    whole, points = zip(*([_cpu_ms(step, each) for step in steps] for each in _asked(photos, QUERIES)), strict=True)
    return statistics.median(whole), statistics.median(points)


def _comparing_ms(extractor: Extractor, photos: list[Path], known: list[Path]) -> float:
    """The median of the processor time that the comparisons with all known copies take here, of some of the same
    pictures."""

    def once(number: int, picture: bytes) -> float:
        paths = known[number * ASKED_EVERY % len(photos) :: len(photos)]
        copies = [extractor.query(path.read_bytes()).fingerprint.features for path in paths]
        return _cpu_ms(lambda asked: [verify_all(asked, [copy]) for copy in copies], extractor.query(picture).features)

    return statistics.median(once(*each) for each in enumerate(_asked(photos, QUERIES // 4)))


def _cpu_ms(step: Callable[[bytes], object], picture: bytes) -> float:
    started = time.thread_time()  # further threads of OpenBLAS, which a worker has not, would spin, and count
    step(picture)
    return 1e3 * (time.thread_time() - started)


def _resident(process: psutil.Process) -> str:
    """Of the daemon and each worker, and of all of them with a page that several have mapped counted once."""
    found = [resident_of(each.pid) for each in (process, *process.children(recursive=True))]
    parts = [each.rss.total() / 1024 for each in found]
    once = sum(each.pss for each in found) / 1024
    return f"{sum(parts):.0f} = {' + '.join(f'{part:.0f}' for part in parts)}; shared pages counted once: {once:.0f}"


def _median_ms(command: list[str], runs: int = 30) -> float:
    def once() -> float:
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - started) * 1000

    return statistics.median(once() for _ in range(runs))


if __name__ == "__main__":
    main()
