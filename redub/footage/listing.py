"""List a folder of footage: its media files, and the subtitles of each by their names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from redub.core.errors import ConfigError
from redub.footage.faults import shown
from redub.footage.language import known_language
from redub.footage.subtitles import SUBTITLE_SUFFIXES
from redub.footage.subtitles.beside import Beside, Choice, Unused, files_beside
from redub.footage.tables import TABLE_NAMES

VIDEO_SUFFIXES = frozenset(
    (
        ".mp4",
        ".m4v",
        ".mov",
        ".3gp",
        ".mkv",
        ".webm",
        ".avi",
        ".ts",
        ".m2ts",
        ".mts",
        ".mpg",
        ".mpeg",
        ".vob",
        ".ogv",
    )
)
SOUND_SUFFIXES = frozenset((".wav", ".flac", ".mp3", ".m4a", ".mka", ".ogg", ".oga", ".opus"))
MEDIA_SUFFIXES = VIDEO_SUFFIXES | SOUND_SUFFIXES

_NOT_UTF8 = "a name that is not UTF-8; rename the file"
_HIDDEN = "hidden files (their names begin with a dot) are not read; rename it to use it"
_LINK = "links to folders are not followed; copy the folder, or name it in [footage] root"
_TABLES_CUTOFF = 0.8  # likeness of a file's name to that of a table, 0 to 1
_OF_MACOS = "._"  # what macOS writes beside a file on other file systems; no media are in it


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files of a footage folder, as sorted posix paths below it.

    Attributes:
        sources: media files.
        others: all other files.
        beside: the subtitles of each source, and the files that are not used.
    """

    sources: list[str]
    others: list[str]
    beside: Beside


def list_sources(root: Path) -> list[str]:
    """List all sources below ``root`` as sorted posix paths; links to folders are not followed.

    A name that is not UTF-8 is given with its bytes escaped (``caf\\xe9.mp4``).

    Raises:
        ConfigError: ``root`` is not a folder, or a folder cannot be listed.
    """
    return _sources(_listed(root).media)


def list_files(root: Path, *, subtitles_language: str = "") -> FolderFiles:
    """List sources and other files below ``root``, and find the subtitles of each source.

    Raises:
        ConfigError: ``root`` is not a folder, a folder cannot be listed, or there is no such
            language.
    """
    language = known_language(subtitles_language, "footage.subtitles_language")
    named, others, skipped = _listed(root)
    unreadable = {_escaped(name): name for name in named if _escaped(name) != name}
    sources = _sources(named)
    strange = [Unused(_escaped(name), _NOT_UTF8) for name in others if _escaped(name) != name]
    others = [name for name in others if _escaped(name) == name]
    strange += _misnamed_tables(others)
    found = files_beside(sources, others, language=language)
    refused = Choice(problem=f"has {_NOT_UTF8}", code="E-IN-NAME")
    return FolderFiles(
        sources,
        sorted(others, key=os.fsencode),
        Beside(
            {**found.choices, **dict.fromkeys(unreadable, refused)},
            (*found.unused, *strange, *skipped),
        ),
    )


def _sources(named: list[str]) -> list[str]:
    return sorted([_escaped(name) for name in named], key=os.fsencode)


def _escaped(name: str) -> str:
    """The name with bytes that are not UTF-8 written as ``\\xNN``; tables hold only UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _misnamed_tables(names: Iterable[str]) -> list[Unused]:
    """CSV files that are not read, and whose names resemble that of a table."""
    found = []
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() != ".csv" or name in TABLE_NAMES:
            continue
        near = get_close_matches(path.name.lower(), TABLE_NAMES, n=1, cutoff=_TABLES_CUTOFF)
        if near:
            found.append(Unused(name, f"tables are read as '{near[0]}' in the footage folder only"))
    return found


class _Listed(NamedTuple):
    """Names as the file system gives them; ``skipped`` are not looked at."""

    media: list[str]
    others: list[str]
    skipped: list[Unused]


def _listed(root: Path) -> _Listed:
    """Media and other files below ``root``."""
    if not root.is_dir():
        raise ConfigError(f"'{shown(str(root))}' is not a folder; wanted a folder of footage")
    listed = _Listed([], [], [])

    def cannot_list(error: OSError) -> None:
        """Turn an error of ``os.walk`` into a ConfigError."""
        raise ConfigError(f"a folder of footage cannot be listed: {error}") from error

    for place, folders, files in os.walk(root, onerror=cannot_list):
        folders[:] = [name for name in folders if not name.startswith(".")]
        folder = Path(place)
        below = folder.relative_to(root)
        # A folder, pipe or link named film.mp4 is listed, too, so that it is refused with a reason.
        named = [n for n in [*files, *folders] if _is_media(n) and not n.startswith(".")]
        listed.media.extend((below / name).as_posix() for name in named)
        folders[:] = [name for name in folders if not _is_media(name)]
        other = [name for name in files if not _is_media(name) and not name.startswith(".")]
        listed.others.extend((below / name).as_posix() for name in other)
        hidden = [n for n in files if n.startswith(".") and not n.startswith(_OF_MACOS)]
        unused = [(name, _HIDDEN) for name in hidden if _is_media(name) or _is_subtitles(name)]
        unused += [(name, _LINK) for name in folders if (folder / name).is_symlink()]
        listed.skipped.extend(
            Unused(_escaped((below / name).as_posix()), reason) for name, reason in unused
        )
    return listed


def _is_subtitles(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUBTITLE_SUFFIXES


def _is_media(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in MEDIA_SUFFIXES
