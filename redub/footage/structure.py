"""Detect truncated files: count the bytes that the container headers declare but the file lacks.

FFmpeg decodes a truncated file without an error and stops early. The box sizes show the loss.

Source: ISO/IEC 14496-12 (boxes), RFC 8794 (EBML), Microsoft RIFF.
"""

from __future__ import annotations

import os

_MP4_FIRST = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx"}
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_RIFF_SLACK = 9  # many writers count the eight header bytes, or omit the padding byte


def is_mp4(head: bytes) -> bool:
    """Return whether the first bytes of a file (at least 8) are those of MP4 or QuickTime."""
    return head[4:8] in _MP4_FIRST


def is_matroska(head: bytes) -> bool:
    """Return whether the first bytes of a file (at least 4) are those of Matroska or WebM."""
    return head[:4] == _EBML


def missing_bytes(descriptor: int) -> int:
    """Count the bytes that the headers declare but the file lacks.

    Returns 0 if the file is complete, and also if its format does not declare sizes.
    """
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, 64, 0)
    if is_mp4(head):
        return _missing_boxes(descriptor, size)
    if is_matroska(head):
        return _missing_segment(head, size)
    if head[:4] == b"RIFF":
        return _missing_riff(descriptor, size)
    if head[:4] == b"RF64" and head[12:16] == b"ds64":
        return max(int.from_bytes(head[20:28], "little") + 8 - size - _RIFF_SLACK, 0)
    return 0


def _missing_boxes(descriptor: int, size: int) -> int:
    """Missing bytes of an MP4 file: follow the sizes of the top-level boxes."""
    position = 0
    while position + 8 <= size:
        header = os.pread(descriptor, 16, position)
        length = int.from_bytes(header[:4], "big")
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:], "big")
        if length < 8:  # 0 means "to the end of the file"; 1-7 are not valid box sizes
            return 0
        position += length
    return max(position - size, 0)


def _missing_riff(descriptor: int, size: int) -> int:
    """Missing bytes of a RIFF file (WAV, AVI): follow the sizes of its RIFF chunks."""
    position = 0
    while position + 8 <= size:
        header = os.pread(descriptor, 8, position)
        length = int.from_bytes(header[4:], "little")
        if header[:4] != b"RIFF" or _is_unknown(length):
            return 0
        position += 8 + length
    missing = position - size
    return missing if missing > _RIFF_SLACK else 0


def _is_unknown(length: int) -> bool:
    """Whether a writer that cannot seek left the size open: 0, all ones, or about 2 or 4 GiB."""
    return length == 0 or 0x7FFF_F000 <= length <= 0x7FFF_FFFF or length >= 0xFFFF_F000


def _missing_segment(head: bytes, size: int) -> int:
    """Missing bytes of a Matroska file: read the size of its first segment."""
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
    """An EBML size and the position after it; None if it is cut off or "unknown" (all ones)."""
    if position >= len(data) or data[position] == 0:
        return None
    width = 9 - data[position].bit_length()
    raw = data[position : position + width]
    value = int.from_bytes(raw, "big") & ((1 << 7 * width) - 1)
    if len(raw) < width or value == (1 << 7 * width) - 1:
        return None
    return value, position + width
