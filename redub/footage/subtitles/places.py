"""The places of utterances in their scene, from the line numbers of a subtitle file."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence


def positions(numbers: Sequence[int], unusable: Collection[int]) -> list[int]:
    """Number the utterances of a scene: 1, 2, 3, …, with a gap for each unusable utterance.

    Two utterances with a gap between them are not adjacent, so neither is the other's context.

    Args:
        numbers: line numbers of the usable utterances in their file, in order of time.
        unusable: line numbers of the unusable utterances.
    """
    gone = sorted(unusable)
    places = [1] * bool(numbers)
    for pair in itertools.pairwise(numbers):
        low, high = sorted(pair)
        is_gap = bisect_right(gone, low) < bisect_left(gone, high)
        places.append(places[-1] + 1 + is_gap)
    return places


def line_order(line: int, part: str) -> int:
    """A number by which lines and their parts are in order."""
    return line * 32 + (ord(part) - ord("a") if part else 0)
