"""Open media files safely: only regular files below the footage folder, no protocols.

A decoder never gets a file name. It gets ``/proc/self/fd/N`` of a descriptor that was opened and
checked here. So nothing in a file name (``http:``, a leading dash, a newline) can reach FFmpeg.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from redub.core.errors import ClipError
from redub.footage.faults import shown

# A word and a colon that no space follows: 'http://x', 'concat:a|b', 'subfile,,start,0,end,9,,:x';
# but not the film title 'Alien: Covenant.mp4'.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.,_=-]*:(?!\s)")

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def refuse_scheme(path: str) -> None:
    """Refuse a path that names a protocol.

    Raises:
        ClipError: E-SEC-SCHEME.
    """
    if _SCHEME.match(path):
        raise ClipError(
            f"'{shown(path)}' names a protocol; wanted the path of a local file (rename a file "
            "whose name starts like this)",
            code="E-SEC-SCHEME",
        )


def locate(root: Path, relative: str) -> Path:
    """Resolve the real path of a source below the footage folder; links are followed and checked.

    Args:
        relative: posix path below ``root``, as in the clip table.

    Raises:
        ClipError: E-SEC-SCHEME; E-SEC-ESCAPE (an absolute path, ``..``, or a link to a place
            outside the folder); E-IN-MISSING; E-IN-PERM.
    """
    refuse_scheme(relative)
    named = PurePosixPath(relative)
    if named.is_absolute() or ".." in named.parts or "\0" in relative:
        raise ClipError(
            f"'{shown(relative)}' is not a path inside the footage folder; wanted a relative "
            "path without '..'",
            code="E-SEC-ESCAPE",
        )
    try:
        home = root.resolve(strict=True)
        real = (home / relative).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EACCES:
            raise _refusal(relative, error) from error
        raise _missing(relative) from error
    if not real.is_relative_to(home):
        raise ClipError(
            f"'{shown(relative)}' is a link to a place outside the footage folder; copy the file "
            "into the folder to use it",
            code="E-SEC-ESCAPE",
        )
    return real


@contextmanager
def open_regular(path: Path) -> Iterator[int]:
    """Open a regular file for reading and yield its descriptor.

    Anything other than a regular file is refused before it is opened, so a pipe cannot block.

    Raises:
        ClipError: E-SEC-SCHEME, E-IN-MISSING, E-IN-PERM, E-IN-NOTFILE, E-IN-EMPTY. When the block
            ends: E-IN-CHANGED, the file was written to in the meantime.
    """
    refuse_scheme(str(path))
    try:
        _require_regular(path, os.stat(path))
        # O_NONBLOCK: open returns even if a pipe has just replaced the file.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _refusal(str(path), error) from error
    try:
        before = os.fstat(descriptor)
        _require_regular(path, before)
        if before.st_size == 0:
            raise ClipError(
                f"'{shown(path.name)}' has zero bytes; wanted a file with content: copy it again",
                code="E-IN-EMPTY",
            )
        yield descriptor
        after = os.fstat(descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise ClipError(
                f"'{shown(path.name)}' was written to while it was read; wait until the copy "
                "is complete and run again",
                code="E-IN-CHANGED",
            )
    finally:
        os.close(descriptor)


def descriptor_path(descriptor: int) -> str:
    """Return the path by which FFmpeg can open a checked descriptor."""
    return f"/proc/self/fd/{descriptor}"


def _require_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    found = next((word for test, word in _KINDS if test(status.st_mode)), "no regular file")
    raise ClipError(f"'{shown(path.name)}' is {found}; wanted a regular file", code="E-IN-NOTFILE")


def _refusal(path: str, error: Exception) -> ClipError:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EACCES, errno.EPERM):
        return ClipError(
            f"'{shown(path)}' may not be read by this user; change its permissions",
            code="E-IN-PERM",
        )
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, None):
        return _missing(path)
    return ClipError(f"'{shown(path)}' could not be opened: {error}", code="E-IN-NOTFILE")


def _missing(path: str) -> ClipError:
    return ClipError(
        f"'{shown(path)}' does not exist, or is a link without a target; restore the file or "
        "ingest the folder again",
        code="E-IN-MISSING",
    )
