"""What one decode may use before it is stopped."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from redub.core.errors import ConfigError


def peak_memory_mib() -> int:
    """Resident memory of this process at its highest.

    Read from the kernel's status file: ``ru_maxrss`` of a new program starts at the peak of the
    program that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """Bounds on one request to the decoder process.

    memory_mib: address space of the process. A 60 s clip at the default picture size takes up
        to 660 MiB of it, the libraries about 500.
    cpu_s, wall_s: per request. Probing reads the whole file, so both grow by one second for
        every 20 MB of file.
    max_pixels_per_frame: larger pictures are refused before any is decoded.
    max_clip_s: longer clips are refused; sources may be of any length.
    clips_per_child: the process is replaced after so many requests, in case a library leaks.
    """

    memory_mib: int = 1500
    cpu_s: int = 60
    wall_s: float = 60.0
    max_pixels_per_frame: int = 4096 * 2304
    max_clip_s: float = 60.0
    clips_per_child: int = 200

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ConfigError(
                    f"decode limit '{field.name}' is {value}; wanted a number above 0",
                    code="E-CFG-VALUE",
                )

    def extra_s(self, size_bytes: int) -> int:
        """Seconds added to ``cpu_s`` and ``wall_s`` when a whole file must be read."""
        return size_bytes // 20_000_000
