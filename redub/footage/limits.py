"""Limits of memory, time and size for one request to the decoder process."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from redub.core.errors import ConfigError


def peak_memory_mib() -> int:
    """Return the peak resident memory of this process in MiB.

    Read from ``/proc/self/status``, because ``ru_maxrss`` of a child starts at the peak of its
    parent process.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def check_share(name: str, value: float) -> None:
    """Check a share that may be 0 but not 1.

    Raises:
        ConfigError: E-CFG-VALUE, with the name.
    """
    if not 0 <= value < 1:
        raise ConfigError(
            f"{name} is {value}; wanted a number from 0 to below 1", code="E-CFG-VALUE"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """Limits of one request to the decoder process; all but the last must be above 0.

    Attributes:
        memory_mib: address space of the process. A 60 s clip at the default frame size takes up
            to 660 MiB, the libraries take about 500 MiB.
        cpu_s, wall_s: seconds per request. Probing reads the whole file, so both grow by one
            second for every 20 MB of the file.
        max_pixels_per_frame: larger frames are refused before any frame is decoded.
        max_clip_s: longer clips are refused; sources may have any length.
        clips_per_child: the process is replaced after this number of requests, in case a library
            leaks memory.
        max_concealed_share: share of a clip's frames that the decoder may flag as damaged and
            conceal, from 0 to below 1. Only damage that the decoder notices is counted.

    Raises:
        ConfigError: E-CFG-VALUE, a limit is not above 0.
    """

    memory_mib: int = 1500
    cpu_s: int = 60
    wall_s: float = 60.0
    max_pixels_per_frame: int = 4096 * 2304
    max_clip_s: float = 60.0
    clips_per_child: int = 200
    max_concealed_share: float = 0.0

    def __post_init__(self) -> None:
        check_share("decode limit 'max_concealed_share'", self.max_concealed_share)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "max_concealed_share" and not value > 0:
                raise ConfigError(
                    f"decode limit '{field.name}' is {value}; wanted a number above 0",
                    code="E-CFG-VALUE",
                )

    def extra_s(self, size_bytes: int) -> int:
        """Return the seconds to add to ``cpu_s`` and ``wall_s`` when a whole file is read."""
        return size_bytes // 20_000_000
