"""When the frames of an MPEG program stream are shown, counted from the frames' own headers.

A program stream (``.mpg``, ``.vob``) stores a time only for some frames. FFmpeg guesses the others,
and is wrong by up to two frames where a group of pictures begins without a time. A frame's place is
exact: its header holds its place in its group (``temporal_reference``; ISO/IEC 13818-2, 6.3.9), and
all frames of the groups before are shown before.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

_PICTURE = b"\x00\x00\x01\x00"
_GROUP = b"\x00\x00\x01\xb8"
_REFERENCES = 1 << 10  # temporal references are counted modulo this
_NEW_TIMES_S = 0.5  # FFmpeg's times differ by more than this from the counted ones: times jump


class DisplayTimes:
    """Presentation times of the packets of one MPEG-1 or MPEG-2 video, read from its beginning.

    Args:
        rate: frames per second of the stream.
        time_base: seconds of one unit of the packets' times.
    """

    def __init__(self, rate: Fraction, time_base: Fraction) -> None:
        self._step = 1 / (rate * time_base)
        self._jump = _NEW_TIMES_S / time_base
        self._decoded: list[Fraction] = []  # counted decoding times since the first group
        self._next = Fraction(0)
        self._group_start = 0
        self._shift: Fraction | None = None  # presentation minus decoding time

    def of(self, packet: Any) -> int | None:
        """Presentation time of the next packet in its time base; its own one if none is counted."""
        pts: int | None = packet.pts
        data = bytes(packet)
        picture = data.find(_PICTURE)
        if packet.dts is None or picture < 0 or picture + 6 > len(data):
            return pts
        if 0 <= data.find(_GROUP) < picture:
            self._group_start = len(self._decoded)
        elif not self._decoded:
            return pts  # the file begins inside a group
        header = int.from_bytes(data[picture + 4 : picture + 6], "big")
        place = self._group_start + (header >> 6) % _REFERENCES
        time = self._time_at(place, packet)
        if self._shift is None and pts is not None:
            self._shift = pts - time
        return pts if self._shift is None else round(time + self._shift)

    def _time_at(self, place: int, packet: Any) -> Fraction:
        """Count the packet's decoding time, and give the one of the frame at ``place``."""
        if not self._decoded or abs(packet.dts - self._next) > self._jump:
            self._next = Fraction(packet.dts)
        own = self._next
        self._decoded.append(own)
        # Film on video shows some frames for three fields; a frame has two.
        fields = round(2 * packet.duration / self._step) if packet.duration else 2
        self._next = own + Fraction(max(fields, 1), 2) * self._step
        ahead = place - (len(self._decoded) - 1)
        return self._decoded[place] if ahead < 0 else own + ahead * self._step
