"""Turn numbers into words for captions."""

from __future__ import annotations

from bisect import bisect

Bins = tuple[tuple[float, ...], tuple[str, ...]]
"""Ascending upper bounds, and the words of the bins (one more than bounds)."""


def binned(value: float, bins: Bins) -> str:
    """Return the word of the bin of a value; a bound belongs to the bin above it."""
    bounds, words = bins
    return words[bisect(bounds, value)]


def listed(words: list[str]) -> str:
    """Join words: ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
