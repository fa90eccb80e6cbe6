"""Find the subtitle file of each source by stated rules, and name every file that is not used.

For the film ``harbour.mp4`` these are candidates, in its folder or in a folder ``Subs``
(``Subtitles``, ``Captions``) in there; upper and lower case and the form of accents do not matter:

* ``harbour.srt`` and the other formats of :data:`SUBTITLE_SUFFIXES`; also ``harbour.mp4.srt``;
* ``harbour.en.srt``, ``harbour.eng.sdh.srt``, ``harbour_pt-BR.vtt``: words after the name are a
  language (ISO 639 code or English name) or a mark of :data:`MARKS`;
* ``Subs/harbour/2_English.srt``, and ``Subs/English.srt`` where the folder has one film only.

A file belongs to the longest name that fits: ``a.b.srt`` to ``a.b.mp4``, not to ``a.mp4``. Of the
candidates the one in the wanted language is taken; without a wanted language the one without a
language, else the only language, else English. A file for foreign parts only (``forced``) is never
the dialogue of a film.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from redub.core.config import nearest
from redub.core.errors import ClipError
from redub.footage.faults import shown
from redub.footage.language import language_code
from redub.footage.subtitles import SUBTITLE_SUFFIXES

SUBTITLE_FOLDERS = frozenset(("subs", "sub", "subtitles", "subtitle", "captions"))

MARKS = frozenset(("sdh", "cc", "hi", "default", "full", "dialogue", "dialog", "subtitles", "auto"))
"""Words in a file name that say how the text was made; the text is the dialogue."""

FOREIGN_PARTS = frozenset(("forced", "foreign", "signs", "songs", "commentary"))
"""Words in a file name that say that the text is not the dialogue of the film."""

UNREAD_SUBTITLES = frozenset(
    (
        *(".idx", ".sup", ".smi", ".sami", ".lrc", ".stl", ".scc", ".mcc", ".cap", ".mpl", ".rt"),
        *(".usf", ".jss", ".psb", ".ssf", ".aqt", ".pjs", ".ttxt", ".ebu", ".cin"),
    )
)
UNREAD_MEDIA = frozenset(
    (
        *(".wmv", ".asf", ".flv", ".f4v", ".mxf", ".rm", ".rmvb", ".divx", ".dv", ".y4m", ".mjpeg"),
        *(".h264", ".h265", ".hevc", ".264", ".265", ".ivf", ".m2v", ".m1v", ".mks", ".gif"),
        *(".aac", ".ac3", ".eac3", ".dts", ".thd", ".wma", ".aiff", ".aif", ".caf", ".amr", ".ape"),
        *(".wv", ".mp2", ".au", ".w64", ".iso", ".bup", ".ifo"),
    )
)
"""Endings of media and subtitles that redub does not read; such files are named."""

_BREAK = re.compile(r"[._\s(\[-]")
_WORDS = re.compile(r"[._\s()\[\]-]+")
_LANGUAGE_TAG = re.compile(r"([A-Za-z]{2,3})[-_]([A-Za-z]{2}|[A-Za-z]{4}|\d{3})")
_SDH = frozenset(("sdh", "cc", "hi"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleFile:
    """A subtitle file that belongs to a source.

    Attributes:
        path: posix path below the footage root.
        language: two letters of ISO 639-1; empty if the name has none.
        words: words of the name that are neither a language nor a known mark.
        is_foreign_parts: it is for foreign parts, signs or commentary only.
        is_for_deaf: it describes sounds, too.
        order: of equally good files the one with the smallest order is taken.
    """

    path: str
    language: str = ""
    words: tuple[str, ...] = ()
    is_foreign_parts: bool = False
    is_for_deaf: bool = False
    order: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unused:
    """A subtitle-like or media-like file that was seen and not used, with the reason."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Choice:
    """The subtitles of one source.

    Attributes:
        path: of the file to read, below the footage root; None: no file is beside the source.
        unused: files that belong to the source and are not read.
        problem: why the source cannot be read, as the end of a sentence; empty: all is right.
        code: of the problem.
        language: of the file in its name, two letters of ISO 639-1; empty if the name has none.
    """

    path: str | None = None
    unused: tuple[Unused, ...] = ()
    problem: str = ""
    code: str = "E-SUB-CHOICE"
    language: str = ""

    def checked(self, source: str) -> Choice:
        """Return this choice.

        Raises:
            ClipError: E-SUB-CHOICE, several files could be meant; E-IN-NAME, the name of the source
                cannot be written in a table.
        """
        if self.problem:
            raise ClipError(f"'{shown(source)}' {self.problem}", code=self.code)
        return self


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside the sources of a folder.

    Attributes:
        choices: source → its subtitles; a source without candidates is missing.
        unused: files that belong to no source, and files that redub does not read.
    """

    choices: Mapping[str, Choice] = field(default_factory=dict)
    unused: tuple[Unused, ...] = ()

    def of(self, source: str) -> Choice:
        """The subtitles of a source."""
        return self.choices.get(source, Choice())

    def all_unused(self) -> list[Unused]:
        """Every unused file, in the order of the paths."""
        found = [unused for choice in self.choices.values() for unused in choice.unused]
        return sorted({*found, *self.unused}, key=lambda unused: unused.path)


def files_beside(sources: Collection[str], files: Iterable[str], *, language: str = "") -> Beside:
    """Assign subtitle files to sources, choose one for each, and name the others.

    Args:
        sources: posix paths of the media files below the root.
        files: posix paths of all other files below the root.
        language: two letters of ISO 639-1; empty: see the module docstring.
    """
    stems: dict[tuple[str, str], list[str]] = defaultdict(list)
    films: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        path = PurePosixPath(source)
        stems[path.parent.as_posix(), _folded(path.stem)].append(source)
        films[path.parent.as_posix()].append(source)
    found: dict[str, list[SubtitleFile]] = defaultdict(list)
    unused = []
    others = sorted(files, key=os.fsencode)
    pictures = {name[:-4] for name in others if name.lower().endswith(".idx")}
    for name in others:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix == ".sub" and name[:-4] in pictures:
            unused.append(Unused(name, "pictures of words (VobSub) are not read"))
        elif suffix in SUBTITLE_SUFFIXES:
            owners, words, has_name = _owners(name, stems, films)
            for owner in owners:
                found[owner].append(_described(name, words, has_name))
            if not owners:
                unused.append(Unused(name, _no_film(name, sources)))
        elif suffix in UNREAD_SUBTITLES:
            unused.append(Unused(name, f"subtitles of the kind {suffix} are not read"))
        elif suffix in UNREAD_MEDIA:
            unused.append(Unused(name, f"media of the kind {suffix} are not read; convert it"))
    choices = {source: choose(found[source], language) for source in sources if source in found}
    return Beside(choices, tuple(unused))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _owners(
    name: str, stems: Mapping[tuple[str, str], list[str]], films: Mapping[str, list[str]]
) -> tuple[list[str], list[str], bool]:
    """The sources that a subtitle file belongs to, the other words of its name, and whether the
    name of the film is in it."""
    path = PurePosixPath(name)
    stem = path.stem
    ends = [len(stem), *(place.start() for place in reversed([*_BREAK.finditer(stem)]))]
    folder = path.parent
    at_home = folder.name.casefold() in SUBTITLE_FOLDERS
    for home in [folder, folder.parent] if at_home else [folder]:
        for end in ends:
            name_of_film = stem[:end].rstrip()
            owners = stems.get((home.as_posix(), _folded(name_of_film)))
            if owners:
                # 'a.srt' is of 'a.mp4' and not of 'A.mp4', if both are there
                exact = [o for o in owners if PurePosixPath(o).stem == name_of_film]
                owners = exact or owners
                words = stem[end:].split(".")
                media = [o for o in owners if _names_media(o, words)]  # harbour.mp4.srt
                return (media, words[2:], True) if media else (owners, words, True)
    if folder.parent.name.casefold() in SUBTITLE_FOLDERS:  # Subs/harbour/2_English.srt
        owners = stems.get((folder.parent.parent.as_posix(), _folded(folder.name)))
        if owners:
            return owners, [path.stem], True
    if at_home and len(films.get(folder.parent.as_posix(), ())) == 1:
        return films[folder.parent.as_posix()], [path.stem], False
    return [], [], False


def _names_media(source: str, words: list[str]) -> bool:
    """Whether the words after the film's name begin with the ending of its media file."""
    ending = PurePosixPath(source).suffix.casefold()
    return len(words) > 1 and not words[0] and f".{words[1].casefold()}" == ending


def _described(name: str, words: Iterable[str], has_name: bool) -> SubtitleFile:
    """What the words after the film's name say: language, marks, other words."""
    language, others, marks, numbers = "", [], set(), []
    for word in [word for part in words for word in _split(part)]:
        low = word.casefold()
        code = language_code(word)
        if low in FOREIGN_PARTS or (low in MARKS and (low != "hi" or language)):
            marks.add(low)
        elif code and not language:
            language = code
        elif low.isdigit():
            numbers.append(word)
        else:
            others.append(word)
    if not language:  # '2_English' is the second track, 'film-2' is another film
        others += numbers
    return SubtitleFile(
        path=name,
        language=language,
        words=tuple(others),
        is_foreign_parts=bool(marks & FOREIGN_PARTS),
        is_for_deaf=bool(marks & _SDH),
        order=_order(name, has_name),
    )


def _split(part: str) -> list[str]:
    """The words of a part of a name; ``pt-BR`` stays one word."""
    part = part.strip(" ()[]_-")
    tag = _LANGUAGE_TAG.fullmatch(part)
    if tag and language_code(tag[1]) and tag[2].casefold() not in MARKS | FOREIGN_PARTS:
        return [part]
    return [word for word in _WORDS.split(part) if word]


def choose(files: Collection[SubtitleFile], language: str) -> Choice:
    """Choose one of the files, or of the tracks, of a source.

    Args:
        language: two letters of ISO 639-1; empty: see the module docstring.
    """
    why: dict[str, str] = {}
    usable = []
    for file in files:
        if file.is_foreign_parts:
            why[file.path] = "it is for foreign parts, signs or commentary, not for the dialogue"
        elif file.words:
            why[file.path] = (
                f"'{shown(' '.join(file.words))}' in its name is no language; rename it to the "
                "name of the film to use it"
            )
        else:
            usable.append(file)
    wanted, problem = _wanted_language({file.language for file in usable}, language)
    fitting = [file for file in usable if file.language == wanted] if not problem else []
    best = min(fitting, key=_rank, default=None)
    for file in usable:
        if file is best:
            continue
        if problem:
            why[file.path] = "it is one of several languages"
        elif best is None or file.language != wanted:
            said = file.language or "no language in its name"
            why[file.path] = f"its language is {said}, wanted {language or wanted or 'none'}"
        else:
            why[file.path] = f"{shown(best.path)} is read instead"
    unused = tuple(Unused(path, reason) for path, reason in sorted(why.items()))
    if best is None:
        return Choice(None, unused, problem)
    return Choice(best.path, unused, problem, language=best.language)


def _wanted_language(languages: set[str], setting: str) -> tuple[str, str]:
    """The language to take of those that are there, or why none can be chosen."""
    if setting:
        return (setting if setting in languages or "" not in languages else ""), ""
    if "" in languages or not languages:
        return "", ""
    if len(languages) == 1:
        return next(iter(languages)), ""
    if "en" in languages:
        return "en", ""
    return "", (
        f"has subtitles in {', '.join(sorted(languages))}; name one in [footage] subtitles_language"
    )


def _rank(file: SubtitleFile) -> tuple[bool, tuple[int, ...], bytes]:
    return file.is_for_deaf, file.order, os.fsencode(file.path)


def _order(name: str, has_name: bool) -> tuple[int, ...]:
    """Beside the film first, then those with the film's name, then by format."""
    path = PurePosixPath(name)
    depth = sum(part.casefold() in SUBTITLE_FOLDERS for part in path.parts[:-1])
    return depth, int(not has_name), SUBTITLE_SUFFIXES.index(path.suffix.lower())


def _no_film(name: str, sources: Collection[str]) -> str:
    path = PurePosixPath(name)
    folder = path.parent
    if folder.name.casefold() in SUBTITLE_FOLDERS:
        folder = folder.parent
    near = [shown(PurePosixPath(s).name) for s in sources if PurePosixPath(s).parent == folder]
    hint = f"; {nearest(path.stem, near)}" if near else ""
    return f"no media file has this name{hint}"
