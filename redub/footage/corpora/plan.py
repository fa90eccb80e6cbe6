"""The input and output of a corpus reader: files in, planned utterances and reasons out.

A reader looks only at file names and small text files. It puts every file of the corpus into one of
three groups: media of an utterance, read for facts, or skipped with a reason.
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
from redub.footage.listing import MEDIA_SUFFIXES, VIDEO_SUFFIXES

_MAX_TEXT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusLine:
    """One utterance that becomes one media file of the footage folder.

    Attributes:
        source: the media file, a posix path below the corpus.
        target: its path below the footage folder. The first part is the film; the order of paths
            is the order of the utterances.
        key: name of the utterance in the split lists of the corpus.
        text, emotion: empty where unknown.
        number: place of the utterance in the film, None if the corpus does not count utterances.
            The next utterance of the film has the next number.
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
        """The first part of ``target``."""
        return PurePosixPath(self.target).parts[0]


@dataclass(slots=True)
class CorpusPlan:
    """What a reader found in a corpus.

    Attributes:
        lines: the utterances.
        facts: file → what was read from it.
        skipped: file → why it is not used.
        notes: remarks for the user, as sentences.
        rights: rights that the corpus states, or empty.
    """

    lines: list[CorpusLine] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rights: str = ""


@dataclass(frozen=True, slots=True)
class CorpusTree:
    """The files of a corpus, and the split lists for it.

    Attributes:
        files: sorted posix paths below ``root``.
        skipped: file → reason, for hidden files, links to folders, links to places outside
            ``root``, and anything that is not a regular file.
        lists: the split lists.
    """

    root: Path
    files: tuple[str, ...]
    skipped: Mapping[str, str]
    lists: SplitLists

    def media(self) -> Iterator[PurePosixPath]:
        """Yield the files with a suffix of :data:`redub.footage.listing.MEDIA_SUFFIXES`."""
        return (p for p in map(PurePosixPath, self.files) if p.suffix.lower() in MEDIA_SUFFIXES)

    def text(self, name: str) -> str:
        """Read a small text file.

        Raises:
            ValueError: it is not UTF-8, or larger than 64 MiB.
        """
        data = (self.root / name).read_bytes()
        if len(data) > _MAX_TEXT_BYTES:
            raise ValueError(f"is larger than {_MAX_TEXT_BYTES >> 20} MiB")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"is not UTF-8 at byte {error.start}") from error

    def words(self, name: str) -> str:
        """Read a small text file as one line; see :meth:`text`."""
        return one_line(self.text(name))


def list_corpus(root: Path, lists: SplitLists) -> CorpusTree:
    """List the files of a corpus; links to folders, or to files outside it, are not followed.

    Raises:
        ConfigError: ``root`` is not a folder, or a folder cannot be listed.
    """
    if not root.is_dir():
        raise ConfigError(f"'{shown(str(root))}' is not a folder; wanted the folder of a corpus")
    home = root.resolve()
    files: list[str] = []
    skipped: dict[str, str] = {}

    def cannot_list(error: OSError) -> None:
        """Turn an error of ``os.walk`` into a ConfigError."""
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
    """Return whether ``folder/name`` is a symbolic link."""
    return (Path(folder) / name).is_symlink()


def one_line(text: str) -> str:
    """Replace every run of white space by one space."""
    return " ".join(text.split())


def letters_of(text: str) -> str:
    """Reduce a text to its letters and digits in lower case, to compare two spellings."""
    return "".join(c for c in text.casefold() if c.isalnum())


def shows_video(path: PurePosixPath) -> bool:
    """Return whether the suffix is one of video (the file may still contain only sound)."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def scenes_of(lines: Iterable[CorpusLine]) -> dict[str, str]:
    """Map targets to scenes, for utterances with numbers.

    A scene is a run of consecutive numbers of one film, so its utterances are really adjacent. A
    second utterance with the same number (two speakers in one cue) gets a separate scene.
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
    """Map each number to the name of its run of consecutive numbers: ``0026-0029`` or ``0026``."""
    found: dict[int, str] = {}
    ordered = enumerate(sorted(set(numbers)))
    for _, group in groupby(ordered, key=lambda item: item[1] - item[0]):
        run = [number for _, number in group]
        name = f"{run[0]:04d}" if len(run) == 1 else f"{run[0]:04d}-{run[-1]:04d}"
        found |= dict.fromkeys(run, name)
    return found
