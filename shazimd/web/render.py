"""Templates of the page. Everything that a template prints is escaped."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from shazimd import __version__
from shazimd.acting.facts import shown
from shazimd.text import duration, size
from shazimd.web import words
from shazimd.web.places import folder_text, host_of, name_text, path_of, path_text

HERE = os.path.dirname(__file__)


class Templates:
    """Renders the templates. ``link`` names a file in the links of pictures, ``version`` its state of now."""

    def __init__(self, link: Callable[[bytes], str], version: Callable[[bytes], str]) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(os.path.join(HERE, "templates")),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )
        self._environment.globals.update(version=__version__)
        self._environment.filters.update(
            size=size,
            duration=duration,
            number=lambda count: f"{count:,}",
            count=count_text,
            date=words.date,
            name=name_text,
            folder=folder_text,
            path=path_text,
            host=lambda item: host_of(path_of(item)),
            link=lambda item: link(path_of(item)),
            matchlink=lambda alert: link(path_of(alert, "match")),
            matchname=lambda alert: os.path.basename(path_text(alert, "match")),
            matchpath=lambda alert: path_text(alert, "match"),
            matchhost=lambda alert: host_of(path_of(alert, "match")),
            bank=lambda alert: path_text(alert, "bank"),
            bytes=shown,
            bytelink=link,
            versioned=lambda item: f"{link(path_of(item))}?v={version(path_of(item))}",
            why=lambda reason: reason.removeprefix("keep: "),
            relation=words.relation,
            differences=words.differences,
            outline=words.outline,
        )

    def text(self, template: str, /, **values: Any) -> str:
        return self._environment.get_template(template).render(values)

    def page(self, template: str, code: int = 200, /, **values: Any) -> HTMLResponse:
        return HTMLResponse(self.text(template, **values), code)


def count_text(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count_text(1, "file"), count_text(1200, "file"), count_text(2, "copy")
    ('1 file', '1,200 files', '2 copies')
    """
    if number != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun}"
