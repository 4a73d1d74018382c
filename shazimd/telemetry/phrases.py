"""Events of the log in words for a terminal, with the facts of the event in braces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PHRASES = {
    "alerts_held": "alerts wait until the vectors of all images are there",
    "alerts_released": "{alerts:,} alerts that waited are decided now",
    "backfill_complete": "vectors and features of all images are up to date",
    "backfill_started": "vectors and features of {contents:,} images are made again in the background",
    "directory_unreadable": "{path} can't be read: {reason}",
    "events_lost": "events of {root} were lost ({reason}); it is compared with the disk",
    "files_gone": "{files:,} images are gone from {directory}",
    "image_failed": "{path} can't be read: {reason}",
    "image_postponed": "{path} is tried again soon: {reason}",
    "model_in_use": "the model is there: {handle}",
    "model_installing": "the model is being installed: {handle}",
    "model_missing": "there is no model, so only the hashes are compared: {reason}",
    "relations_outdated": "{contents:,} images are compared with each other again, by the rules of this version",
    "reloaded": "the configuration was reloaded",
    "removal_held": "{missing:,} of {known:,} images are missing in {root}, and stay known: {reason}; {remedy}",
    "root_polled": "{root} is compared at intervals: {reason}",
    "root_unavailable": "{root} is not there, and its images stay known: {reason}",
    "start_waits": "the start has to wait: {reason}",
    "store_looked_through": "looking through the store for damage: {reason}",
    "store_migrated": "the store is up to date",
    "store_migrating": "bringing the store up to date",
    "store_not_writable": "the store can't be written, and new images wait: {reason}",
    "store_writable_again": "the store can be written again",
}


def in_words(event: Mapping[str, Any]) -> str | None:
    """The event as a sentence; None for one without a phrase."""
    phrase = PHRASES.get(event["event"])
    return None if phrase is None else phrase.format_map(event)
