"""A flat picture of vectors that keeps near neighbours near, and how far it may be trusted.

Up to 2000 points are laid out by exact t-SNE from a PCA start; fewer than 10, or more, by PCA
alone. Nothing is drawn at random and the turning and mirroring of the picture are fixed, so the
same vectors give the same places. What t-SNE keeps is who is near whom: how far apart two groups
lie, and how large they are drawn, says nothing.

Source: t-SNE, van der Maaten & Hinton 2008 (JMLR 9, 2579-2605), equations 1, 4 and 5 and
algorithm 1 with section 3.4: momentum 0.5, after 250 steps 0.8, gains after Jacobs, the first 50
steps exaggerated four times. The PCA start is that of Kobak & Berens 2019. Trustworthiness: Venna &
Kaski 2001 (ICANN), equation 2.

Letters: N points, D width, K neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.spatial.distance import cdist

from redub.core.errors import ConfigError
from redub.index.base import IntArray

Places = NDArray[np.float64]

FEWEST_EMBEDDED, MOST_EMBEDDED = 10, 2000
PERPLEXITY = 30.0
STEPS = 1000
EXAGGERATED_STEPS, EXAGGERATION = 50, 4.0
SLOW_STEPS, SLOW, FAST = 250, 0.5, 0.8
LEARNING_RATE = 100.0
LEAST_GAIN = 0.01
START_SPREAD = 1e-4
BLOCK_ROWS = 256
BLOCK_PAIRS = 1 << 14
DIGITS = 6
"""Places are rounded, relative to the picture's size, before anything is decided by them: sums by
other numbers of threads differ in the last bits."""


class Layout(NamedTuple):
    """Where N points lie. ``places``: (N, 2) in [-1, 1], the longer side filled, y upwards.

    ``explained``: the share of the variance that two principal axes hold. ``perplexity``: how many
    neighbours t-SNE weighs; 0 for PCA.
    """

    places: Places
    method: Literal["t-SNE", "PCA"]
    explained: float
    perplexity: float


class Trust(NamedTuple):
    """Trustworthiness at K neighbours, and what a shuffled picture of the same points reaches."""

    value: float
    shuffled: float
    k: int


def lay_out(vectors: NDArray[np.floating]) -> Layout:
    """Place (N, D) vectors on a plane; equal vectors get equal places, N may be 0.

    Raises:
        ConfigError: not a 2-D array of finite numbers.
    """
    points = np.asarray(vectors, dtype=np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise ConfigError(f"cannot draw vectors of shape {points.shape}: wanted finite (N, D) rows")
    flat, explained = _principal_places(points)
    spread = np.abs(flat).max(initial=0.0)
    if not FEWEST_EMBEDDED <= len(points) <= MOST_EMBEDDED or spread == 0:
        return Layout(_framed(flat), "PCA", explained, 0.0)
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    start = START_SPREAD * np.round(flat / spread, DIGITS)
    weights = _neighbour_weights(cdist(points, points, "sqeuclidean"), perplexity)
    return Layout(_framed(_embed(weights, start)), "t-SNE", explained, perplexity)


def trustworthiness(vectors: NDArray[np.floating], places: Places, k: int = 10) -> Trust:
    """How far the K nearest on the picture are near neighbours of the vectors, too.

    T(K) = 1 - 2 / (N K (2N - 3K - 1)) · Σ_i Σ_{j in U(i)} (r(i, j) - K): U(i) are the points among
    i's K nearest on the picture but not among its K nearest vectors, r their rank among those.
    1 is a picture without strangers. Equal distances rank by row.

    Args:
        vectors: (N, D). places: (N, 2).
        k: lowered to the largest K below N/2, for which the measure is defined; with fewer than
            three points nothing can be out of place, and the value is 1 at K = 0.
    """
    count = len(vectors)
    k = min(k, (count - 1) // 2)
    if k < 1:
        return Trust(1.0, 1.0, 0)
    points = np.asarray(vectors, dtype=np.float64)
    others = np.random.default_rng(0).permutation(count)
    penalty = {"value": 0, "shuffled": 0}
    for rows in _blocks(count):
        ranks = np.empty((len(rows), count), dtype=np.int64)
        order = _nearest_first(points, rows)
        np.put_along_axis(ranks, order, np.arange(1, count + 1)[None], axis=1)
        for name, drawn in (("value", places), ("shuffled", places[others])):
            near = _nearest_first(drawn, rows)[:, :k]
            strange = np.take_along_axis(ranks, near, axis=1) - k
            penalty[name] += int(np.maximum(strange, 0).sum())
    worst = count * k * (2 * count - 3 * k - 1) / 2
    return Trust(1 - penalty["value"] / worst, 1 - penalty["shuffled"] / worst, k)


def _nearest_first(points: Places, rows: IntArray) -> IntArray:
    """(n, N) all points from the nearest to the farthest of some rows; each row itself is last."""
    apart = cdist(points[rows], points, "sqeuclidean")
    apart[np.arange(len(rows)), rows] = np.inf
    return np.argsort(apart, axis=1, kind="stable")


def _blocks(count: int) -> Iterator[IntArray]:
    for start in range(0, count, BLOCK_ROWS):
        yield np.arange(start, min(count, start + BLOCK_ROWS))


# -- PCA


def _principal_places(points: Places) -> tuple[Places, float]:
    """(N, 2) places on the two strongest axes, and the share of the variance they hold."""
    width = points.shape[1]
    if not len(points) or not width:
        return np.zeros((len(points), 2)), 1.0
    centred = points - points.mean(axis=0)
    scatter = centred.T @ centred  # (D, D)
    total = float(np.trace(scatter))
    if total == 0:
        return np.zeros((len(points), 2)), 1.0
    shares, axes = eigh(
        np.round(scatter / total, 2 * DIGITS), subset_by_index=[max(0, width - 2), width - 1]
    )
    flat = np.zeros((len(points), 2))
    flat[:, : axes.shape[1]] = centred @ axes[:, ::-1]
    return flat, float(np.clip(shares.sum(), 0.0, 1.0))


def _framed(places: Places) -> Places:
    """Turn the picture onto its own principal axes, fix the signs, and fill [-1, 1]."""
    turned, _ = _principal_places(places)
    size = np.abs(turned).max(initial=0.0)
    if size == 0:
        return np.zeros_like(turned)
    # Decided on rounded places, so that of two equal extremes the first one always rules.
    rounded = np.round(turned / size, DIGITS)
    leading = rounded[np.abs(rounded).argmax(axis=0), [0, 1]]
    rounded *= np.where(leading < 0, -1.0, 1.0)
    middle = (rounded.max(axis=0) + rounded.min(axis=0)) / 2
    rounded -= middle
    framed: Places = np.round(rounded / np.abs(rounded).max(), DIGITS) + 0.0  # no minus zero
    return framed


# -- t-SNE


def _neighbour_weights(apart: Places, perplexity: float) -> Places:
    """(N, N) joint probabilities P of equation 1, made symmetric, from squared distances.

    Each row's Gaussian is as wide as gives its neighbours the wanted perplexity. A row with more
    equal vectors than that cannot be made so narrow; it weighs its equals alike.
    """
    count = len(apart)
    own = np.eye(count, dtype=np.bool_)
    scaled = apart / apart.mean()
    scaled[own] = np.inf
    scaled -= scaled.min(axis=1, keepdims=True)  # the largest weight of a row is 1
    low, high = np.full(count, -20.0), np.full(count, 60.0)  # log of the precision
    weights = np.empty_like(scaled)
    finite = np.where(own, 0.0, scaled)
    for _ in range(60):
        middle = (low + high) / 2
        precision = np.exp(middle)[:, None]
        np.multiply(scaled, -precision, out=weights)
        np.exp(weights, out=weights)
        total = weights.sum(axis=1)
        entropy = np.log(total) + precision[:, 0] * (weights * finite).sum(axis=1) / total
        is_wide = entropy > np.log(perplexity)
        low, high = np.where(is_wide, middle, low), np.where(is_wide, high, middle)
    weights /= total[:, None]
    joint: Places = (weights + weights.T) / (2 * count)
    return joint


def _embed(weights: Places, start: Places) -> Places:
    """Gradient descent of algorithm 1 on the places, from a start of tiny spread.

    Sums are written out instead of being matrix products: those may add up in another order on
    another number of threads, and a thousand steps make much of a last bit.
    """
    count = len(start)
    places = start.T.copy()  # (2, N)
    rate = min(LEARNING_RATE, count)  # a dozen points at the full rate fly apart
    gains, moved = np.ones((2, count)), np.zeros((2, count))
    for step in range(STEPS):
        pull, push, total = _forces(weights, places)
        slope = 4 * ((EXAGGERATION if step < EXAGGERATED_STEPS else 1.0) * pull - push / total)
        is_overshot = (slope > 0) == (moved > 0)
        gains = np.maximum(np.where(is_overshot, gains * 0.8, gains + 0.2), LEAST_GAIN)
        moved *= SLOW if step < SLOW_STEPS else FAST
        moved -= rate * gains * slope
        places = places + moved
        places -= places.mean(axis=1, keepdims=True)
    return places.T


def _forces(weights: Places, places: Places) -> tuple[Places, Places, float]:
    """The two sums of equation 5, with c = (1 + |y_i - y_j|²)^-1 and q = c / Σ c.

    (2, N) Σ_j p c (y_i - y_j), (2, N) Σ_j c² (y_i - y_j), and Σ c. A block of rows at a time stays
    in the processor's cache.
    """
    count = places.shape[1]
    pull, push, total = np.empty((2, count)), np.empty((2, count)), 0.0
    rows = max(1, BLOCK_PAIRS // count)
    for start in range(0, count, rows):
        own = slice(start, min(count, start + rows))
        apart = [axis[own, None] - axis for axis in places]  # two of (n, N)
        close = 1.0 / (1.0 + (apart[0] * apart[0] + apart[1] * apart[1]))
        total += close.sum() - len(close)  # without the rows themselves, whose c is 1
        wanted, square = weights[own] * close, close * close
        for axis in (0, 1):
            pull[axis, own] = np.einsum("ij,ij->i", wanted, apart[axis])
            push[axis, own] = np.einsum("ij,ij->i", square, apart[axis])
    return pull, push, float(total)
