"""Read V2C-Animation: utterances of animated films, cut by their subtitles, grouped by speaker.

Two forms of names are read, also mixed::

    zootopia/zootopia_videos/Judy/0034.mp4          as the authors' toolkit writes them
    zootopia/zootopia_speeches/Judy/00/Judy-00-0034.{wav,normalized.txt}, Judy-00-trans.txt
    …/Zootopia@Judy_00_0034_00.{mp4,wav,lab,txt}    as the dubbing papers name them

``emotions.json`` (name → 0–7) has the emotions, ``<film>.srt`` the punctuation: the number in a
name is the place of the cue in that file, counted from 0. Utterances with consecutive numbers form
one scene, so the utterances before and after are really adjacent.
Source: github.com/chenqi008/V2C (DataConstruction: README, toolkit_data.py, emotions.json, SRT).
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

import pysubs2

from redub.core.types import EMOTIONS
from redub.footage.corpora.plan import (
    CorpusLine,
    CorpusPlan,
    CorpusTree,
    letters_of,
    one_line,
    shows_video,
)

_VIDEO = re.compile(r"(?:.*/)?([^/]+)_videos/([^/]+)/(\d{1,6})\.[^./]+")
_SPEECH = re.compile(r"(?:.*/)?([^/]+)_speeches/([^/]+)/\d\d/[^/]+-\d\d-(\d{1,6})(\.[^/]+)")
_TRANS = re.compile(r"(?:.*/)?([^/]+)_speeches/([^/]+)/\d\d/[^/]+-\d\d[.-]trans\.txt")
_JOINED = re.compile(r"(?:.*/)?([^/@]+)@([^/]+)_\d\d_(\d{1,6})_\d\d(\.[^/]+)")
_KEY = re.compile(r"([^@]+)@.+")
_EMOTIONS = "emotions.json"
_TEXTS = frozenset((".normalized.txt", ".lab", ".txt"))


class Name(NamedTuple):
    """Identifies one utterance; ``film`` is in lower case, because the public forms differ."""

    film: str
    speaker: str
    number: int

    def key(self, films: dict[str, str]) -> str:
        """Return the name in the public lists: ``Zootopia@Judy_00_0034_00``.

        Args:
            films: film in lower case → its spelling in the public lists.
        """
        return f"{films.get(self.film, self.film)}@{self.speaker}_00_{self.number:04d}_00"


def read_v2c(tree: CorpusTree) -> CorpusPlan:
    """Plan one utterance per clip; the video is used where a sound file exists, too."""
    plan = CorpusPlan()
    chosen = _media(tree, plan)
    emotions = _emotions(tree, plan)
    films = _spellings(tree, chosen, emotions)
    texts, subtitles = _texts(tree, plan), _subtitles(tree, plan)
    for name, path in sorted(chosen.items()):
        film, key = films.get(name.film, name.film), name.key(films)
        text = tree.lists.texts.get(key) or texts.get(name, "")
        plan.lines.append(
            CorpusLine(
                source=str(path),
                target=f"{film}/{name.number:04d}/{key}{path.suffix.lower()}",
                key=key,
                speaker=f"{film}@{name.speaker}",
                text=_with_punctuation(text, subtitles.get(name.film, []), name.number),
                emotion=emotions.get(key, ""),
                number=name.number,
            )
        )
    _note(tree, plan, emotions, subtitles)
    return plan


def _media(tree: CorpusTree, plan: CorpusPlan) -> dict[Name, PurePosixPath]:
    chosen: dict[Name, PurePosixPath] = {}
    for path in sorted(tree.media(), key=lambda p: (not shows_video(p), str(p))):
        found = _VIDEO.fullmatch(str(path)) or _SPEECH.fullmatch(str(path))
        found = found or _JOINED.fullmatch(str(path))
        if found is None:
            plan.skipped[str(path)] = (
                "neither its folders nor its name say film, speaker and number"
            )
            continue
        name = Name(found[1].lower(), found[2], int(found[3]))
        if name in chosen:
            plan.skipped[str(path)] = f"the same line as {chosen[name]}"
        else:
            chosen[name] = path
    return chosen


def _texts(tree: CorpusTree, plan: CorpusPlan) -> dict[Name, str]:
    """The texts of the corpus: from single files first, then from the table of each speaker."""
    texts: dict[Name, str] = {}
    for path in tree.files:
        found = _SPEECH.fullmatch(path) or _JOINED.fullmatch(path)
        if found is None or found[4].lower() not in _TEXTS:
            continue
        name = Name(found[1].lower(), found[2], int(found[3]))
        try:
            texts.setdefault(name, tree.words(path))
            plan.facts[path] = "the words of one line"
        except ValueError as error:
            plan.skipped[path] = str(error)
    for path in tree.files:
        found = _TRANS.fullmatch(path)
        if found is None:
            continue
        try:
            rows = tree.text(path).splitlines()
        except ValueError as error:
            plan.skipped[path] = str(error)
            continue
        for row in rows:
            key, _, said = row.strip().partition(" ")
            number = key.rpartition("-")[2]
            if number.isascii() and number.isdigit() and len(number) < 10:
                texts.setdefault(Name(found[1].lower(), found[2], int(number)), one_line(said))
        plan.facts[path] = "the words of a speaker"
    return texts


def _subtitles(tree: CorpusTree, plan: CorpusPlan) -> dict[str, list[str]]:
    """Film in lower case → the texts of its cues, in the file's order."""
    found: dict[str, list[str]] = {}
    for path in map(PurePosixPath, tree.files):
        if path.suffix.lower() != ".srt":
            continue
        try:
            cues = pysubs2.SSAFile.from_string(tree.text(str(path)), format_="srt")
        except (ValueError, IndexError, pysubs2.exceptions.Pysubs2Error) as error:
            plan.skipped[str(path)] = f"its cues cannot be read: {one_line(str(error))[:120]}"
            continue
        found[path.stem.lower()] = [one_line(cue.plaintext) for cue in cues]
        plan.facts[str(path)] = "the punctuation of a film"
    return found


def _with_punctuation(text: str, cues: list[str], number: int) -> str:
    """Use the subtitle's spelling if it has the same words; the corpus strips punctuation."""
    cue = cues[number] if number < len(cues) else ""
    return cue if cue and (not text or letters_of(cue) == letters_of(text)) else text


def _emotions(tree: CorpusTree, plan: CorpusPlan) -> dict[str, str]:
    """Public name → emotion, from every ``emotions.json`` of the corpus."""
    emotions: dict[str, str] = {}
    for path in tree.files:
        if PurePosixPath(path).name != _EMOTIONS:
            continue
        try:
            emotions |= _emotion_table(tree.text(path))
            plan.facts[path] = "the emotions"
        except (ValueError, RecursionError) as error:
            plan.skipped[path] = f"no table of names and emotions 0–7: {one_line(str(error))}"
    return emotions


def _emotion_table(text: str) -> dict[str, str]:
    """Parse the table name → emotion id; raises ValueError that says what was found."""
    table = json.loads(text)
    if not isinstance(table, dict):
        raise ValueError(f"found {reprlib.repr(table)}")
    for name, label in table.items():
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(EMOTIONS):
            raise ValueError(f"found {reprlib.repr(label)} for {reprlib.repr(name)}")
    return {name: EMOTIONS[label] for name, label in table.items()}


def _spellings(
    tree: CorpusTree, chosen: dict[Name, PurePosixPath], emotions: dict[str, str]
) -> dict[str, str]:
    """Film in lower case → its spelling in the public lists, else in the folders."""
    spellings: dict[str, str] = {}
    for key in [*emotions, *tree.lists.splits, *_written(chosen)]:
        found = _KEY.fullmatch(key)
        if found is not None:
            spellings.setdefault(found[1].lower(), found[1])
    return spellings


def _written(chosen: dict[Name, PurePosixPath]) -> Iterator[str]:
    for path in chosen.values():
        found = _JOINED.fullmatch(str(path)) or _VIDEO.fullmatch(str(path))
        found = found or _SPEECH.fullmatch(str(path))
        if found is not None:
            yield f"{found[1]}@x"


def _note(
    tree: CorpusTree,
    plan: CorpusPlan,
    emotions: dict[str, str],
    subtitles: dict[str, list[str]],
) -> None:
    without = sum(not line.emotion for line in plan.lines)
    unread = {
        path: why
        for path, why in {**tree.skipped, **plan.skipped}.items()
        if PurePosixPath(path).name == _EMOTIONS
    }
    plan.notes += [f"{path} was not used ({why})" for path, why in sorted(unread.items())]
    if without and any(PurePosixPath(path).name == _EMOTIONS for path in plan.facts):
        plan.notes.append(f"{without} lines are not in {_EMOTIONS}")
    elif without:
        why = "" if unread else f"no {_EMOTIONS}: "
        plan.notes.append(f"{why}no line has an emotion")
    if not subtitles:
        plan.notes.append("no .srt of a film: words have the punctuation of the corpus, often none")
