from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, as_completed
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import imagehash
import numpy as np
import pytest
from patience import wait_for
from PIL import Image, ImageDraw
from structlog.testing import capture_logs

from shazimd import ShazimEngine
from shazimd.config import WorkersConfig
from shazimd.engine import ShazimImage
from shazimd.errors import NotAnImage, NotFound
from shazimd.store.lmdb_store import open_store
from shazimd.text import SIMILARITIES
from shazimd.workers.pool import WorkerPool


def draw(path: Path, seed: int) -> Path:
    """A picture with things in it."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (320, 240), tuple(rng.integers(0, 255, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(30):
        x, y, w, h = rng.integers(0, 200, 4)
        pen.ellipse((x, y, x + w + 5, y + h + 5), fill=tuple(rng.integers(0, 255, 3)))
    image.save(path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """ski.jpg, its copy, its recompressed copy, and ten others."""
    folder = tmp_path / "images"
    (folder / "deeper").mkdir(parents=True)
    ski = draw(folder / "ski.jpg", 0)
    (folder / "ski_copy.jpg").write_bytes(ski.read_bytes())
    Image.open(ski).save(folder / "deeper" / "ski2.jpg", quality=40)
    for seed in range(1, 11):
        draw(folder / f"{seed}.png", seed)
    return folder


def test_parse_train_save_load_and_ask(images: Path, tmp_path: Path) -> None:
    """The original's snippets: what was trained and saved is found by another engine."""
    engine = ShazimEngine(model="none")
    assert 13 == engine.parse(images)
    engine.train()
    engine.save(tmp_path / "store")

    asking = ShazimEngine(model="none")
    asking.load(tmp_path / "store")
    im = asking.load_image(images / "ski.jpg")
    found = asking.shazim(im, 0.9)
    assert {str(images / "ski_copy.jpg"), str(images / "deeper" / "ski2.jpg")} == {path for path, _ in found}
    assert 1.0 == found[0][1]


def test_a_store_is_saved_again_with_another_model(images: Path, tmp_path: Path) -> None:
    """What the store had of the same pictures is replaced, not kept; pictures that are not saved again go."""
    for model in ("none", "bundled"):
        engine = ShazimEngine(model, models=str(tmp_path / "models"))
        engine.parse(images)
        engine.train()
        engine.save(tmp_path / "store")
        (images / "1.png").unlink(missing_ok=True)
    loaded = ShazimEngine("bundled", models=str(tmp_path / "models"))
    loaded.load(tmp_path / "store")
    assert all(image.fv is not None for image in loaded.db.values())
    with closing(open_store(str(tmp_path / "store"), 1 << 24)) as store, store.read() as reader:
        assert reader.counts()["contents"] == 11


def test_a_picture_with_a_name_too_long_for_a_store_is_left_out(images: Path, tmp_path: Path) -> None:
    """It is named, and the others are saved."""
    engine = ShazimEngine(model="none")
    for path in (str(images / "1.png"), f"/{'x' * 496}/2.png", f"/{'x' * 495}/3.png"):
        engine.db[path] = replace(engine.load_image(images / "1.png"), path=path)
    with capture_logs() as log:
        engine.save(tmp_path / "store")
    assert [(line["event"], line["path"]) for line in log] == [("name_too_long", f"/{'x' * 496}/2.png")]
    engine.load(tmp_path / "store")
    assert {str(images / "1.png"), f"/{'x' * 495}/3.png"} == engine.db.keys()


def test_the_hashes_are_those_of_imagehash(images: Path) -> None:
    """im.ah and im.dh can be compared with hashes from elsewhere."""
    im = ShazimEngine(model="none").load_image(images / "3.png")
    picture = Image.open(images / "3.png")
    assert (imagehash.average_hash(picture), imagehash.dhash(picture)) == (im.ah, im.dh)


def test_the_difference_of_two_images_and_their_score(images: Path) -> None:
    """im1 - im2 has the similarities that both know; predict is their weighted mean."""
    engine = ShazimEngine(model="none")
    im1, im2 = engine.load_image(images / "ski.jpg"), engine.load_image(images / "1.png")
    difference = im1 - im2
    assert set(SIMILARITIES) - {"dfv"} == difference.keys()
    assert pytest.approx((difference["dah"] + 3 * difference["ddh"]) / 4, abs=0.001) == engine.predict(
        im1, im2, [1, 3, 7]
    )
    assert {"dah": 1.0, "ddh": 1.0} == im1 - im1


def test_weights_and_threshold_decide(images: Path) -> None:
    """Each parameter changes the answer; nonsense is refused."""
    engine = ShazimEngine(model="none")
    engine.parse(images)
    engine.train()
    im = engine.load_image(images / "ski.jpg")
    assert 12 == len(engine.shazim(im, 0.0)) > len(engine.shazim(im, 0.9))
    assert engine.shazim(im, 0.0, [1, 0, 0]) != engine.shazim(im, 0.0, [0, 1, 0])
    with pytest.raises(ValueError, match=r"threshold is 1\.5"):
        engine.shazim(im, 1.5)
    with pytest.raises(ValueError, match="not all zero"):
        engine.predict(im, im, [0, 0, 0])


def test_what_is_no_image_is_left_out_of_training_and_refused_when_asked(images: Path) -> None:
    """One bad file does not stop the others."""
    (images / "bad.jpg").write_bytes(b"no picture")
    engine = ShazimEngine(model="none")
    assert 14 == engine.parse(images)
    engine.train()
    assert 13 == len(engine.db)
    with pytest.raises(NotAnImage):
        engine.load_image(images / "bad.jpg")


def test_an_interrupted_training_keeps_what_is_done_and_goes_on_later(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files not begun are not read; the next training reads them."""
    asking = ShazimEngine(model="none")
    asking._limits = WorkersConfig(processes=1)
    asking.parse(images)
    jobs: list[Future[None]] = []
    begun = count()
    real = ShazimEngine._ingest

    def ingest(engine: ShazimEngine, path: str, pool: WorkerPool) -> ShazimImage | None:
        if next(begun) == 0:
            return real(engine, path, pool)
        wait_for(lambda: any(job.cancelled() for job in jobs))
        return None

    def interrupted(done: Iterator[Future[None]], *_: object, **_options: object) -> Iterator[Future[None]]:
        yield next(done)
        raise KeyboardInterrupt

    def all_jobs(given: Iterable[Future[None]]) -> Iterator[Future[None]]:
        jobs.extend(given)
        return as_completed(given)

    with monkeypatch.context() as patch:
        patch.setattr(ShazimEngine, "_ingest", ingest)
        patch.setattr("shazimd.engine.as_completed", all_jobs)
        patch.setattr("shazimd.engine.track", interrupted)
        with pytest.raises(KeyboardInterrupt):
            asking.train()
    assert any(job.cancelled() for job in jobs)
    (known,) = asking.db.values()
    im = asking.load_image(images / "1.png")
    assert [path for path, _ in asking.shazim(im, 0.0)] == [path for path in asking.db if path != im.path]
    asking.train()
    assert (13, known) == (len(asking.db), asking.db[known.path])


def test_a_picture_that_is_taken_out_changes_no_other_name(images: Path) -> None:
    """The pictures known are in public: answers are those of an engine that never had it."""
    engine, fresh = ShazimEngine(model="none"), ShazimEngine(model="none")
    engine.parse(images)
    engine.train()
    im = engine.load_image(images / "ski.jpg")
    engine.shazim(im, 0.0)
    del engine.db[next(iter(engine.db))]
    fresh.db |= engine.db
    assert fresh.shazim(im, 0.0) == engine.shazim(im, 0.0)


def test_an_engine_without_pictures_finds_none(images: Path) -> None:
    engine = ShazimEngine(model="none")
    assert [] == engine.shazim(engine.load_image(images / "ski.jpg"), 0.0)


def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Loading makes no empty store."""
    with pytest.raises(NotFound, match="none: no such store"):
        ShazimEngine(model="none").load(tmp_path / "none")
    assert not os.path.exists(tmp_path / "none")


def test_with_a_model_the_vector_counts(images: Path, shared: Path, tmp_path: Path) -> None:
    """im.fv has unit length, and dfv is its cosine."""
    (flatbuffer,) = (shared / "models").glob("*_ptq.tflite")
    engine = ShazimEngine(model=str(flatbuffer), models=str(tmp_path / "models"))
    im1, im2 = engine.load_image(images / "ski.jpg"), engine.load_image(images / "1.png")
    assert im1.fv is not None
    assert pytest.approx(1.0, abs=1e-3) == float(im1.fv @ im1.fv)  # kept as float16
    assert im2.fv is not None
    assert round(float(im1.fv @ im2.fv), 3) == (im1 - im2)["dfv"]
