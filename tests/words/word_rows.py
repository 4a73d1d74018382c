"""Looks into an index of words."""

from __future__ import annotations

from shazimd.types import ContentId
from shazimd.words.index import WordIndex


def contents_of(index: WordIndex) -> list[ContentId]:
    """Every living content, as often as the index has it."""
    state = index._state
    sealed = [content for segment in state.sealed for content in segment.contents[segment.alive].tolist()]
    return sorted([*state.buffer, *sealed])
