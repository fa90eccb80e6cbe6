"""From numbers to the words of a caption."""

from __future__ import annotations

from bisect import bisect

Bins = tuple[tuple[float, ...], tuple[str, ...]]
"""Ascending upper bounds, and one word more than bounds."""


def binned(value: float, bins: Bins) -> str:
    """The word of the bin a value falls into; a bound belongs to the bin above it."""
    bounds, words = bins
    return words[bisect(bounds, value)]


def listed(words: list[str]) -> str:
    """``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
