"""Templates of the page. Everything that a template prints is escaped."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from shazimd import __version__
from shazimd.text import counted, path_bytes, path_text, readable, size
from shazimd.web import words
from shazimd.web.browse import tag_of
from shazimd.web.places import folder_text, host_of, name_text

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
            number=lambda count: f"{count:,}",
            count=counted,
            date=words.date,
            name=name_text,
            folder=folder_text,
            path=path_text,
            host=lambda item: host_of(path_bytes(item)),
            link=lambda item: link(path_bytes(item)),
            matchlink=lambda alert: link(path_bytes(alert, "match")),
            matchname=lambda alert: os.path.basename(path_text(alert, "match")),
            matchpath=lambda alert: path_text(alert, "match"),
            matchhost=lambda alert: host_of(path_bytes(alert, "match")),
            bank=lambda alert: path_text(alert, "bank"),
            bytes=readable,
            bytelink=link,
            versioned=lambda item: f"{link(path_bytes(item))}?v={version(path_bytes(item))}",
            filetag=lambda item: tag_of([item]),
            grouptag=lambda group: tag_of(group["members"]),
            why=lambda reason: reason.removeprefix("keep: "),
            relation=words.relation,
            differences=words.differences,
            outline=words.outline,
        )

    def text(self, template: str, /, **values: Any) -> str:
        return self._environment.get_template(template).render(values)

    def page(self, template: str, code: int = 200, /, **values: Any) -> HTMLResponse:
        return HTMLResponse(self.text(template, **values), code)
