"""Adapt the tones of an aligned picture to those of the other, so that an edit of light or contrast does not count."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import Aligned, Mask, Plane, as_plane

_TONES = np.arange(256, dtype=np.float32)
_UNIT = np.eye(5)
_FLAT_SPAN, _OPEN, _OPEN_MIN, _FACTORS = 6, (24, 240), 64, (1.06, 2.0)
"""Levels within 3 x 3 pixels of flat ground, levels of red, green and blue there that no factor clips, how many of them
tell the factor, and its limits."""
_ALIKE, _APART = 0.8, 0.12
"""The share of those levels that have the factor, but for so much of it."""
_ROUNDING = 1e-4
"""Grey levels: a tone that is not changed is not rounded down."""


def gained(a: Plane, b: Plane, inside: Mask) -> Plane:
    """The luma of a in the tones of b by one gain and one offset, from the pixels that neither picture clips, and then
    from those that fit. A page has few tones: a curve fitted to them would explain any of them away."""
    step = max(1, int(math.sqrt(a.size / 2500)))
    known = inside[::step, ::step]
    x, y = (side[::step, ::step][known].astype(np.float32) for side in (a, b))
    open_ = (x > 4) & (x < 251) & (y > 4) & (y < 251)
    if open_.mean() > 0.15:
        x, y = x[open_], y[open_]
    gain, offset, kept = 1.0, 0.0, np.ones(len(x), bool)
    moments = np.stack([np.ones_like(x), x, y, x * x, x * y]).astype(np.float64)
    for _ in range(4 if len(x) else 0):
        count, mean_x, mean_y, square, product = (moments @ kept).tolist()
        mean_x, mean_y = mean_x / count, mean_y / count
        variance = square / count - mean_x * mean_x
        if variance < 16:
            gain, offset = 1.0, mean_y - mean_x
            break
        gain = (product / count - mean_x * mean_y) / variance
        offset = mean_y - gain * mean_x
        miss = np.abs(gain * x + offset - y)
        before, kept = kept, miss <= max(6.0, _most(miss))
        if np.array_equal(kept, before):
            break
    if not 0.4 < gain < 2.5:
        gain, offset = 1.0, 0.0
    return as_plane(cv2.LUT(a, _clipped(gain * _TONES + (offset + _ROUNDING))))


@lru_cache(maxsize=1)
def gained_query(both: Aligned) -> Plane:
    """The query in the tones of the match; of the last pair, which is compared in several ways."""
    return gained(both.query, both.match, both.inside)


@lru_cache(maxsize=1)
def gained_match(both: Aligned) -> Plane:
    """The match in the tones of the query, as above."""
    return gained(both.match, both.query, both.inside)


def same_tones(both: Aligned, levels: int) -> Mask:
    """The pixels of one tone in both, but for so many grey levels, once the tones of one are adapted to the other's."""
    miss = cv2.absdiff(gained_query(both), both.match), cv2.absdiff(gained_match(both), both.query)
    return np.asarray(cv2.min(*miss) <= levels)


def _most(misses: NDArray[np.floating]) -> float:
    """Upper bound of 70 % of the misses. If many are equal, numpy's partition takes ten times as long as sorting."""
    return float(np.sort(misses.astype(np.float32, copy=False))[7 * len(misses) // 10])


def brightened(both: Aligned) -> Aligned | None:
    """The same pictures, the darker one made as bright as the other: its red, green and blue by one factor, each
    clipped by itself, so a yellow label gains less than a grey one. None where there is no such factor."""
    ours, theirs, inside = both.colours(both.inside, 1)
    query, match = (
        cv2.cvtColor(cv2.merge([luma, *chroma]), cv2.COLOR_YCrCb2RGB)
        for luma, chroma in ((both.query, ours), (both.match, theirs))
    )
    step = max(1, int(math.sqrt(inside.size / 20000)))
    known = (inside & _is_flat(both.query) & _is_flat(both.match))[::step, ::step]
    a, b = (side[::step, ::step][known].astype(np.float32) for side in (query, match))
    open_ = (np.minimum(a, b) > _OPEN[0]) & (np.maximum(a, b) < _OPEN[1])
    if np.count_nonzero(open_) < _OPEN_MIN:
        return None
    factors = b[open_] / a[open_]
    factor = float(np.median(factors))
    is_one = np.quantile(np.abs(factors / factor - 1), _ALIKE) <= _APART
    if not is_one or not _FACTORS[0] <= max(factor, 1 / factor) <= _FACTORS[1]:
        return None
    darker = query if factor > 1 else match
    levels = _clipped(max(factor, 1 / factor) * _TONES)
    luma = as_plane(cv2.cvtColor(cv2.LUT(darker, levels), cv2.COLOR_RGB2GRAY))
    return replace(both, query=luma) if factor > 1 else replace(both, match=luma)


def _is_flat(luma: Plane) -> Mask:
    spans = cv2.morphologyEx(luma, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return np.asarray(spans <= _FLAT_SPAN)


def curved(a: Plane, b: Plane, inside: Mask) -> NDArray[np.float32]:
    """The luma of a in the tones of b by a curve that never falls: for every eighth tone of a, the tone around which
    most of b lies."""
    joint = cv2.calcHist([a, b], [0, 1], inside.view(np.uint8), [32, 32], [0, 256, 0, 256])
    counts = joint.sum(axis=1)
    middle = (np.cumsum(joint, axis=1) >= counts[:, np.newaxis] / 2).argmax(axis=1)
    near = joint * (np.abs(np.arange(32) - middle[:, np.newaxis]) <= 2)
    level = (near * (np.arange(32) * 8 + 3.5)).sum(axis=1) / np.maximum(1, near.sum(axis=1))
    seen = counts >= max(8, 0.002 * counts.sum())
    if seen.sum() < 2:
        return a.astype(np.float32)
    curve = np.interp(np.arange(256), np.flatnonzero(seen) * 8 + 3.5, np.maximum.accumulate(level[seen]))
    return cv2.LUT(a, curve.astype(np.float32)).astype(np.float32, copy=False)


def lit(a: NDArray[np.float32], b: Plane, inside: Mask) -> Plane:
    """The luma of a in the light of b: a gain that changes linearly and with the distance from the middle, as a
    vignette does, by least squares on the pixels that fit."""
    step = max(1, int(math.sqrt(a.size / 2500)))
    known = inside[::step, ::step]
    height, width = a.shape
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, np.newaxis], np.linspace(-1, 1, width, dtype=np.float32)
    part = a[::step, ::step] / 255
    light = y[::step] ** 2 + x[::step] ** 2, x[::step], y[::step]
    places = np.flatnonzero(known)
    wanted = b[::step, ::step].astype(np.float32) / 255
    rows = np.stack([part, np.ones_like(part), *(part * each for each in light), wanted]).reshape(6, -1)[:, places]
    kept, identity = np.ones(len(places), bool), np.array([1, 0, 0, 0, 0], np.float64)
    solution: NDArray[np.floating] = identity
    for _ in range(3):
        weight = 1e-3 * np.count_nonzero(kept)
        products = (rows * kept.astype(np.float32)) @ rows.T
        solution = np.linalg.solve(products[:5, :5] + weight * _UNIT, products[:5, 5] + weight * identity)
        miss = np.abs(np.append(solution, -1).astype(np.float32) @ rows)
        before, kept = kept, miss <= max(6 / 255, _most(miss))
        if np.array_equal(kept, before):
            break
    gain, offset, fall, right, down = solution.astype(np.float32)
    light_of_b = (gain + right * x + fall * x * x) + (fall * y * y + down * y)
    light_of_b *= a
    light_of_b += 255 * offset
    return _clipped(light_of_b)


def _clipped(luma: NDArray[np.floating]) -> Plane:
    return as_plane(np.clip(luma, 0, 255))
