"""Groups of packets between key packets, for files that are read in order."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any


def from_key(
    packets: Iterable[Any], wanted_s: float, origin_s: float, *, kept: int
) -> Iterator[Any]:
    """Drop the first packets of a stream, so that no more than needed is decoded.

    The last ``kept`` groups that start at or before ``wanted_s`` stay: a group begins with a key
    packet, and its first frames may refer to the group before.

    Args:
        wanted_s: seconds since the origin; origin_s: the packets' time that counts as 0.
    """
    groups: deque[list[Any]] = deque([[]])
    waiting = iter(packets)
    for packet in waiting:
        if packet.is_keyframe and packet.size:
            if packet.pts is not None and packet.pts * packet.time_base - origin_s > wanted_s:
                waiting = itertools.chain([packet], waiting)
                break
            groups.append([])
            if len(groups) > kept:
                groups.popleft()
        groups[-1].append(packet)
    for group in groups:
        yield from group
    yield from waiting
