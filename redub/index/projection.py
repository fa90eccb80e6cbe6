"""Project vectors to a 2-D map that keeps near neighbours near, and measure its trustworthiness.

10 to 2000 points are embedded by exact t-SNE, initialised by PCA; other numbers of points by PCA
alone. The embedding uses no random numbers, and rotation and mirroring of the map are fixed, so the
same vectors give the same map. t-SNE preserves neighbourhoods only: distances between groups and
sizes of groups on the map mean nothing.

Source: t-SNE, van der Maaten & Hinton 2008 (JMLR 9, 2579-2605), equations 1, 4 and 5 and
algorithm 1 with section 3.4: momentum 0.5, after 250 steps 0.8, gains after Jacobs, early
exaggeration of 4 for 50 steps. PCA initialisation: Kobak & Berens 2019. Trustworthiness: Venna &
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
"""Coordinates are rounded, relative to the size of the map, before comparisons: with another number
of threads, sums differ in the last bits."""


class Layout(NamedTuple):
    """Positions of N points on the map.

    ``places``: (N, 2) coordinates in [-1, 1], y upwards; the longer side spans the whole range.
    ``explained``: share of the variance on the first two principal axes. ``perplexity``: of
    t-SNE; 0 for PCA.
    """

    places: Places
    method: Literal["t-SNE", "PCA"]
    explained: float
    perplexity: float


class Trust(NamedTuple):
    """Trustworthiness at K neighbours, of the map and of the same map with shuffled points."""

    value: float
    shuffled: float
    k: int


def lay_out(vectors: NDArray[np.floating]) -> Layout:
    """Project (N, D) vectors to 2-D; equal vectors get equal positions, N may be 0.

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
    """Measure how many of the K nearest points on the map are also near in the vector space.

    T(K) = 1 - 2 / (N K (2N - 3K - 1)) · Σ_i Σ_{j in U(i)} (r(i, j) - K). U(i) are the points that
    are among the K nearest of i on the map but not among its K nearest in the vector space; r is
    their rank in the vector space. 1 means that U(i) is empty for every i. Equal distances are
    ranked by row.

    Args:
        vectors: (N, D). places: (N, 2).
        k: lowered to the largest K below N/2, the range in which the measure is defined. With
            fewer than three points the result is 1 at K = 0.
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
            excess = np.take_along_axis(ranks, near, axis=1) - k
            penalty[name] += int(np.maximum(excess, 0).sum())
    worst = count * k * (2 * count - 3 * k - 1) / 2
    return Trust(1 - penalty["value"] / worst, 1 - penalty["shuffled"] / worst, k)


def _nearest_first(points: Places, rows: IntArray) -> IntArray:
    """Sort all points by distance from each of n rows, (n, N); the row itself comes last."""
    apart = cdist(points[rows], points, "sqeuclidean")
    apart[np.arange(len(rows)), rows] = np.inf
    return np.argsort(apart, axis=1, kind="stable")


def _blocks(count: int) -> Iterator[IntArray]:
    for start in range(0, count, BLOCK_ROWS):
        yield np.arange(start, min(count, start + BLOCK_ROWS))


# -- PCA


def _principal_places(points: Places) -> tuple[Places, float]:
    """Project onto the first two principal axes, (N, 2); also return their share of variance."""
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
    """Rotate the map onto its principal axes, fix the signs and scale it to [-1, 1]."""
    turned, _ = _principal_places(places)
    size = np.abs(turned).max(initial=0.0)
    if size == 0:
        return np.zeros_like(turned)
    # Rounded first: of two equal extremes the first one then always decides the sign.
    rounded = np.round(turned / size, DIGITS)
    leading = rounded[np.abs(rounded).argmax(axis=0), [0, 1]]
    rounded *= np.where(leading < 0, -1.0, 1.0)
    middle = (rounded.max(axis=0) + rounded.min(axis=0)) / 2
    rounded -= middle
    framed: Places = np.round(rounded / np.abs(rounded).max(), DIGITS) + 0.0  # no minus zero
    return framed


# -- t-SNE


def _neighbour_weights(apart: Places, perplexity: float) -> Places:
    """Compute the symmetric (N, N) joint probabilities P of equation 1 from squared distances.

    A binary search finds the width of each row's Gaussian for the given perplexity. Where a row has
    more equal vectors than the perplexity, no width reaches it; the equal vectors then get equal
    weights.
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
    """Run the gradient descent of algorithm 1 from small initial coordinates, (N, 2).

    Sums are computed without matrix products: a matrix product may add in another order with
    another number of threads, and a thousand steps amplify differences in the last bit.
    """
    count = len(start)
    places = start.T.copy()  # (2, N)
    rate = min(LEARNING_RATE, count)  # with few points the full rate diverges
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
    """Compute the two sums of equation 5, with c = (1 + |y_i - y_j|²)^-1 and q = c / Σ c.

    Returns (2, N) Σ_j p c (y_i - y_j), (2, N) Σ_j c² (y_i - y_j), and Σ c. Works on blocks of rows
    that fit into the processor's cache.
    """
    count = places.shape[1]
    pull, push, total = np.empty((2, count)), np.empty((2, count)), 0.0
    rows = max(1, BLOCK_PAIRS // count)
    for start in range(0, count, rows):
        own = slice(start, min(count, start + rows))
        apart = [axis[own, None] - axis for axis in places]  # two of (n, N)
        close = 1.0 / (1.0 + (apart[0] * apart[0] + apart[1] * apart[1]))
        total += close.sum() - len(close)  # without the rows themselves, whose c is 1
        weighted, square = weights[own] * close, close * close
        for axis in (0, 1):
            pull[axis, own] = np.einsum("ij,ij->i", weighted, apart[axis])
            push[axis, own] = np.einsum("ij,ij->i", square, apart[axis])
    return pull, push, float(total)
