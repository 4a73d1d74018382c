"""Find, compare and duplicates give one answer to a pair, whichever picture is asked; with real verification."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from itertools import combinations, permutations
from pathlib import Path
from typing import Any, TypeAlias

import fingerprints
import numpy as np
import pytest
from daemon_process import drawing
from drawn import encoded, invoice, photograph
from drawn import picture as drawn_photo
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps
from PIL.Image import Transpose

from benchmarks.quality.edits import cropped, recompressed, scaled
from benchmarks.quality.families import TUNED, picture, windowed
from shazimd.fingerprint import Query
from shazimd.imaging.extract import Extractor
from shazimd.imaging.verify import verify_all
from shazimd.index.flat import FlatIndex
from shazimd.ingest.commit import Committer
from shazimd.ingest.relate import Comparers, Relating
from shazimd.models.model import ModelInfo
from shazimd.search.duplicates import Duplicates, Scoring
from shazimd.search.keep import KeepRules
from shazimd.search.library import Library
from shazimd.search.query import Search
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import DEFAULT_WEIGHTS, FileRow, FileState, Stat, Verdict, Verification, rounded_score

THRESHOLD = 0.75


def pictures() -> dict[str, Image.Image]:
    """Each family's copy, and another picture of its template. The logos are low in information."""
    logo, chart, form = (picture(family, TUNED, 0) for family in ("logos", "line charts", "forms"))
    return {
        "logo": logo,
        "logo-copy": recompressed(scaled(logo, 0.5), 75),
        "logo-other": picture("logos", TUNED, 1),
        "chart": chart,
        "chart-copy": cropped(chart, 0.9, np.random.default_rng(1)),
        "chart-other": picture("line charts", TUNED, 1),
        "form": form,
        "form-copy": recompressed(form, 60),
        "form-other": picture("forms", TUNED, 1),
    }


COPIES = {frozenset([name, f"{name}-copy"]) for name in ("logo", "chart", "form")}

Pair: TypeAlias = tuple[str, str]

MODEL = ModelInfo("mean", "mean", "00", "", 8, 8, 3)


class Mean:
    """A model: its vector is the mean colour, which no turn changes."""

    info = MODEL

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        means = images.mean(axis=(1, 2)).astype(np.float32)
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def blurred(seed: int) -> Image.Image:
    """A picture with soft and sharp parts, wider than high."""
    return Image.blend(drawing(seed), drawn_photo(400, 300, seed), 0.5)


def verify(query: bytes, candidates: Sequence[bytes]) -> Future[list[Verification]]:
    done: Future[list[Verification]] = Future()
    done.set_result(verify_all(query, candidates))
    return done


@pytest.fixture(scope="module")
def queries() -> dict[str, Query]:
    return {name: fingerprints.query(image) for name, image in pictures().items()}


@pytest.fixture
def library(tmp_path: Path, queries: dict[str, Query]) -> Iterator[Library]:
    with filled(tmp_path, queries) as library:
        yield library


@contextmanager
def filled(folder: Path, queries: dict[str, Query], model: ModelInfo | None = None) -> Iterator[Library]:
    """A library with a file for each picture, named like it."""
    with (
        closing(open_store(str(folder / "store"), 1 << 26)) as store,
        closing(Library(store, lambda _store, _model: FlatIndex(), model)) as library,
    ):

        def fill(writer: Writer) -> None:
            for number, (name, query) in enumerate(queries.items()):
                content = writer.add_content(b"%032d" % number, query.fingerprint)
                row = FileRow(Stat(1, 1, number), FileState.INDEXED, content)
                writer.put_file(f"/{name}".encode(), row)
                library.add([(content, query.fingerprint)])

        store.write(fill)
        yield library


def nothing(*_: object) -> Future[Any]:
    """No files lie there to be compared."""
    raise AssertionError


def relate(library: Library) -> None:
    """Find the relations of all contents, as the daemon does in the background."""
    library.loaded.result()
    with closing(Committer(library.store)) as committer:
        relating = Relating(library, committer, Comparers(verify, nothing, nothing))
        while relating.step():
            pass


def copies(library: Library, queries: dict[str, Query]) -> tuple[set[Pair], set[Pair], set[frozenset[str]]]:
    """The pairs told as copies by find and by compare, and the groups of duplicates."""
    search = Search(library, verify)
    found, compared = set(), set()
    for asked, query in queries.items():
        matches = search.matches(query, None, weights=DEFAULT_WEIGHTS, threshold=THRESHOLD)
        found |= {(asked, match.path[1:].decode()) for match in matches if match.verdict is Verdict.COPY}
    for asked, other in permutations(queries, 2):
        known = queries[other].fingerprint
        answer = search.compare(queries[asked], known, same_bytes=False, weights=DEFAULT_WEIGHTS, threshold=THRESHOLD)
        if answer.verdict is Verdict.COPY:
            compared.add((asked, other))
    found -= {(name, name) for name in queries}
    relate(library)
    groups = filter(
        None, Duplicates(library, verified=True).groups(KeepRules.of((), ()), Scoring(DEFAULT_WEIGHTS, THRESHOLD))
    )
    grouped = {frozenset(member.path[1:].decode() for member in group.members) for group in groups}
    return found, compared, grouped


def test_a_pair_has_one_answer(library: Library, queries: dict[str, Query]) -> None:
    """Copies are told as copies by all three, other pictures of a template by none."""
    expected = {(a, b) for a, b in permutations(queries, 2) if frozenset([a, b]) in COPIES}
    assert copies(library, queries) == (expected, expected, COPIES)


def invoices() -> dict[str, Image.Image]:
    asked = invoice("714.10", "10482")
    return {
        "other": invoice("205.36", "96837"),
        "invoice": asked,
        "screenshot": windowed(asked, np.random.default_rng(1)),
        "next": invoice("388.96", "10483"),
    }


@pytest.mark.parametrize(
    "order",
    [
        ["other", "invoice", "screenshot", "next"],
        ["next", "screenshot", "invoice", "other"],
        ["screenshot", "other", "next", "invoice"],
    ],
)
def test_an_edited_page_is_a_copy_of_its_original_alone(tmp_path: Path, order: Sequence[str]) -> None:
    """The screenshot lacks what tells the invoices apart; the places in which these differ show whose it is."""
    pages = invoices()
    queries = {name: fingerprints.query(pages[name]) for name in order}
    with filled(tmp_path, queries) as library:
        _, compared, grouped = copies(library, queries)
        assert (compared, grouped) == (
            {("invoice", "screenshot"), ("screenshot", "invoice")},
            {frozenset(["invoice", "screenshot"])},
        )
        assert copies(library, queries)[0] == compared  # with the relations known


def cutout(image: Image.Image) -> Image.Image:
    """The middle of a picture, with nothing around it."""
    shape = Image.new("L", image.size)
    ImageDraw.Draw(shape).ellipse((20, 20, image.width - 20, image.height - 20), 255)
    cut = image.convert("RGBA")
    cut.putalpha(shape)
    return cut


def mark(colour: str) -> Image.Image:
    """A flat logo with nothing around it."""
    drawn = Image.new("RGBA", (200, 160), (0, 0, 0, 0))
    draw = ImageDraw.Draw(drawn)
    draw.ellipse((20, 30, 110, 120), colour)
    draw.polygon([(120, 130), (180, 20), (190, 130)], colour)
    return drawn


def flattened(image: Image.Image, ground: str) -> Image.Image:
    laid = Image.new("RGBA", image.size, ground)
    laid.alpha_composite(image)
    return laid.convert("RGB")


def sign() -> Image.Image:
    """A black sign on a white page."""
    drawn = Image.new("RGB", (200, 160), "white")
    draw = ImageDraw.Draw(drawn)
    draw.rectangle((30, 30, 90, 130), "black")
    draw.ellipse((110, 40, 180, 110), "black")
    return drawn


def retoned() -> dict[str, Image.Image]:
    """Negatives, and pictures with transparent pixels that were flattened on another ground."""
    photo, form, cut = photograph(seed=3), picture("forms", TUNED, 0), cutout(photograph(seed=5))
    red, white = mark("#c03020"), mark("white")
    return {
        "photo": photo,
        "photo-copy": recompressed(scaled(ImageOps.invert(photo), 0.7), 80),
        "photo-other": photograph(seed=4),
        "form": form,
        "form-copy": recompressed(ImageOps.invert(form), 80),
        "form-other": ImageOps.invert(picture("forms", TUNED, 1)),
        "cut-out": cut,
        "cut-out-copy": recompressed(flattened(cut, "black"), 80),
        "cut-out-other": recompressed(flattened(cutout(photograph(seed=6)), "black"), 80),
        "mark": red,
        "mark-copy": recompressed(scaled(flattened(red, "black"), 0.8), 80),
        "white-mark": white,
        "sign-other": recompressed(sign(), 80),
        "white-mark-copy": recompressed(scaled(flattened(white, "#204060"), 0.8), 80),
    }


def test_a_negative_and_another_ground_are_copies_whichever_is_asked(tmp_path: Path) -> None:
    """All three tell the negative of a photograph or page, and a cut-out or logo on black or in colour."""
    queries = {name: fingerprints.query(image) for name, image in retoned().items()}
    wanted = {frozenset([name, f"{name}-copy"]) for name in ("photo", "form", "cut-out", "mark", "white-mark")}
    expected = {(a, b) for a, b in permutations(queries, 2) if frozenset([a, b]) in wanted}
    with filled(tmp_path, queries) as library:
        assert copies(library, queries) == (expected, expected, wanted)


def turned() -> dict[str, Image.Image]:
    photo = blurred(3)
    return {
        "photo": photo,
        "photo-mirrored": ImageOps.mirror(photo),
        "photo-turned": photo.transpose(Transpose.ROTATE_90),
    }


def test_a_pair_has_one_score(tmp_path: Path) -> None:
    """The same digits in find, compare and duplicates, over the best orientation, whichever picture is asked."""
    extractor = Extractor(Mean(), 200_000_000)
    queries = {name: extractor.query(encoded(image, "JPEG", quality=80)) for name, image in turned().items()}
    with filled(tmp_path, queries, MODEL) as library:
        search = Search(library, verify)
        scores: defaultdict[frozenset[str], set[float]] = defaultdict(set)
        for asked, query in queries.items():
            for match in search.matches(query, None, weights=DEFAULT_WEIGHTS, threshold=THRESHOLD):
                scores[frozenset([asked, match.path[1:].decode()])].add(rounded_score(match.score))
            for other, known in queries.items():
                if other != asked:
                    found = search.compare(
                        query, known.fingerprint, same_bytes=False, weights=DEFAULT_WEIGHTS, threshold=THRESHOLD
                    )
                    scores[frozenset([asked, other])].add(rounded_score(found.score))
        relate(library)
        groups = Duplicates(library, verified=True).groups(KeepRules.of((), ()), Scoring(DEFAULT_WEIGHTS, THRESHOLD))
        (group,) = filter(None, groups)
        keep, *others = group.members
        for member in others:
            assert member.tie is not None
            scores[frozenset([keep.path[1:].decode(), member.path[1:].decode()])].add(rounded_score(member.tie.score))
    pairs = {frozenset(pair) for pair in combinations(queries, 2)}
    assert {pair: len(found) for pair, found in scores.items() if pair in pairs} == dict.fromkeys(pairs, 1)
    assert min(min(scores[pair]) for pair in pairs) > 0.95


def test_the_logos_are_low_in_information(queries: dict[str, Query]) -> None:
    """The answer above does not depend on the gate."""
    assert queries["logo"].fingerprint.low_information
