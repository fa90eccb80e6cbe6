"""How many bytes a container's own headers claim beyond the end of its file.

FFmpeg decodes a cut file without a word and simply stops early; the box sizes tell.

Source: ISO/IEC 14496-12 (boxes), RFC 8794 (EBML), Microsoft RIFF.
"""

from __future__ import annotations

import os

_MP4_FIRST = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx"}
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_RIFF_SLACK = 9  # many writers count the eight header bytes or forget the pad byte


def is_mp4(head: bytes) -> bool:
    return head[4:8] in _MP4_FIRST


def is_matroska(head: bytes) -> bool:
    return head[:4] == _EBML


def missing_bytes(descriptor: int) -> int:
    """Bytes that are declared but not there; 0 where complete or where the format cannot tell."""
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, 64, 0)
    if is_mp4(head):
        return _missing_boxes(descriptor, size)
    if is_matroska(head):
        return _missing_segment(head, size)
    if head[:4] == b"RIFF":
        return _missing_riff(descriptor, size)
    return 0


def _missing_boxes(descriptor: int, size: int) -> int:
    position = 0
    while position + 8 <= size:
        header = os.pread(descriptor, 16, position)
        length = int.from_bytes(header[:4], "big")
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:], "big")
        if length < 8:  # 0: "to the end of the file"; 1-7: not a box any more
            return 0
        position += length
    return max(position - size, 0)


def _missing_riff(descriptor: int, size: int) -> int:
    position = 0
    while position + 8 <= size:
        header = os.pread(descriptor, 8, position)
        length = int.from_bytes(header[4:], "little")
        if header[:4] != b"RIFF" or length in (0, 0xFFFFFFFF):  # never finished: cannot tell
            return 0
        position += 8 + length
    missing = position - size
    return missing if missing > _RIFF_SLACK else 0


def _missing_segment(head: bytes, size: int) -> int:
    header_length = _vint(head, 4)
    if header_length is None:
        return 0
    start = header_length[1] + header_length[0]
    if head[start : start + 4] != _SEGMENT:
        return 0
    segment = _vint(head, start + 4)
    if segment is None:
        return 0
    length, body = segment
    return max(body + length - size, 0)


def _vint(data: bytes, position: int) -> tuple[int, int] | None:
    """An EBML size and the position after it; None if cut off or "unknown" (all ones)."""
    if position >= len(data) or data[position] == 0:
        return None
    width = 9 - data[position].bit_length()
    raw = data[position : position + width]
    value = int.from_bytes(raw, "big") & ((1 << 7 * width) - 1)
    if len(raw) < width or value == (1 << 7 * width) - 1:
        return None
    return value, position + width
