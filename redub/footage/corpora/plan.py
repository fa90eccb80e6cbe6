"""What a corpus reader is given and what it answers: files in, lines and reasons out.

A reader looks at names and small text files only. It places every file of the corpus in one of
three heaps: media of a line, read for facts, or skipped with a reason. Nothing falls through.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath

from redub.core.errors import ConfigError
from redub.footage.corpora.lists import SplitLists
from redub.footage.faults import shown
from redub.footage.folder import MEDIA_SUFFIXES, PICTURE_SUFFIXES

_MAX_TEXT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusLine:
    """One line of dialogue that will be one media file of the footage folder.

    source: the media file, a posix path below the corpus. target: its path below the footage
    folder; the first part is the film, and the order of paths is the order of the lines.
    key: the line's name in the corpus' own split lists. number: its place in the film, where the
    corpus counts lines; what follows it there has the next number. Empty where unknown.
    """

    source: str
    target: str
    key: str
    speaker: str
    text: str = ""
    emotion: str = ""
    number: int | None = None

    @property
    def film(self) -> str:
        return PurePosixPath(self.target).parts[0]


@dataclass(slots=True)
class CorpusPlan:
    """``facts``: file → what was read from it; ``skipped``: file → why it is not used."""

    lines: list[CorpusLine] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rights: str = ""


@dataclass(frozen=True, slots=True)
class CorpusTree:
    """The files of a corpus, and what it was told about splits.

    files: posix paths below ``root``, sorted; hidden ones, links to folders or out of ``root`` and
    what is no file are in ``skipped`` already.
    """

    root: Path
    files: tuple[str, ...]
    skipped: Mapping[str, str]
    lists: SplitLists

    def media(self) -> Iterator[PurePosixPath]:
        """Files with an ending that redub reads."""
        return (p for p in map(PurePosixPath, self.files) if p.suffix.lower() in MEDIA_SUFFIXES)

    def text(self, name: str) -> str:
        """A small text file.

        Raises:
            ValueError: it is not UTF-8, or too large for what it should be.
        """
        data = (self.root / name).read_bytes()
        if len(data) > _MAX_TEXT_BYTES:
            raise ValueError(f"is larger than {_MAX_TEXT_BYTES >> 20} MiB")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"is not UTF-8 at byte {error.start}") from error

    def words(self, name: str) -> str:
        """A small text file as one line."""
        return one_line(self.text(name))


def list_corpus(root: Path, lists: SplitLists) -> CorpusTree:
    """Walk the corpus; links to folders, or to files outside of it, are not followed.

    Raises:
        ConfigError: ``root`` is no folder that can be listed.
    """
    if not root.is_dir():
        raise ConfigError(f"'{shown(str(root))}' is no folder; wanted the folder of a corpus")
    home = root.resolve()
    files: list[str] = []
    skipped: dict[str, str] = {}

    def cannot_list(error: OSError) -> None:
        raise ConfigError(f"a folder of the corpus cannot be listed: {error}") from error

    for folder, folders, names in os.walk(root, onerror=cannot_list):
        below = Path(folder).relative_to(root)
        for name in [*names, *(n for n in folders if n.startswith(".") or is_link(folder, n))]:
            path = (below / name).as_posix()
            if name.startswith("."):
                skipped[path] = "hidden"
            elif name in folders:
                skipped[path] = "a link to a folder is not followed"
            elif not (Path(folder) / name).is_file():
                skipped[path] = "no regular file, or a link that leads nowhere"
            elif is_link(folder, name) and not (Path(folder) / name).resolve().is_relative_to(home):
                skipped[path] = (
                    "a link that leads out of the corpus is not followed; put a copy there"
                )
            else:
                files.append(path)
        folders[:] = [n for n in folders if not n.startswith(".")]
    return CorpusTree(root, tuple(sorted(files)), skipped, lists)


def is_link(folder: str, name: str) -> bool:
    return (Path(folder) / name).is_symlink()


def one_line(text: str) -> str:
    return " ".join(text.split())


def letters_of(text: str) -> str:
    """A text without case, spaces and punctuation, to see whether two spellings say the same."""
    return "".join(c for c in text.casefold() if c.isalnum())


def shows_pictures(path: PurePosixPath) -> bool:
    """Whether the ending is one of pictures (the content may still be sound alone)."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def scenes_of(lines: Iterable[CorpusLine]) -> dict[str, str]:
    """Target → scene, for lines with numbers: a run of consecutive numbers of one film.

    Within a run the line before and the line after are true neighbours; across a gap they would
    not be. A second line of the same number (two speakers in one cue) is a scene of its own.
    """
    by_film: dict[str, dict[int, list[CorpusLine]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if line.number is not None:
            by_film[line.film][line.number].append(line)
    scenes: dict[str, str] = {}
    for numbered in by_film.values():
        runs = runs_of(numbered)
        for number, same in numbered.items():
            first, *others = sorted(same, key=lambda line: line.target)
            scenes[first.target] = runs[number]
            for other in others:
                scenes[other.target] = f"{number:04d} {other.speaker}"
    return scenes


def runs_of(numbers: Iterable[int]) -> dict[int, str]:
    """Number → the run of consecutive numbers it is in: ``0026-0029``, or ``0026`` alone."""
    found: dict[int, str] = {}
    ordered = enumerate(sorted(set(numbers)))
    for _, group in groupby(ordered, key=lambda item: item[1] - item[0]):
        run = [number for _, number in group]
        name = f"{run[0]:04d}" if len(run) == 1 else f"{run[0]:04d}-{run[-1]:04d}"
        found |= dict.fromkeys(run, name)
    return found
