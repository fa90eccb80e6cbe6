"""`redub say`: how lines are spoken, in a project or outside of one.

Reads the project's settings, its ``pronunciations.csv`` and its weights. Outside of a project the
builtin dictionary speaks, with the fetched network for unknown words. Writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redub.core.config import existing_file
from redub.core.errors import ConfigError, FeatureAbsent, UsageError
from redub.features.text.g2p import KIND as G2P
from redub.features.text.phonemes import PhonemeConfig, PhonemeExtractor, WordPhonemes
from redub.features.text.pronunciation import Source
from redub.features.weights.packages import fetched
from redub.footage.language import is_language_tag
from redub.pipeline.store.keys import FeatureKeys
from redub.pipeline.store.project import Project


@dataclass(frozen=True, slots=True)
class SaidWord:
    """One spoken word; ``start`` and ``end`` are the characters of the line it was read from."""

    text: str
    phones: tuple[str, ...]
    source: Source
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SilentText:
    """Text that is not spoken; ``name`` is the Unicode name of a sign."""

    kind: str
    text: str
    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SaidLine:
    """How one line is spoken.

    ``line``: number in the file, from 1. ``phones``: of all words. ``guessed``: words whose phones
    a network guessed. ``unknown``: words without phones. ``problem``: why the line cannot be
    spoken, or empty.
    """

    line: int
    text: str
    words: tuple[SaidWord, ...]
    phones: tuple[str, ...]
    guessed: tuple[str, ...]
    unknown: tuple[str, ...]
    not_spoken: tuple[SilentText, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SaidLines:
    """Some lines as they are spoken, by which backend, and how many words came from where."""

    backend: str
    language: str
    lines: tuple[SaidLine, ...]
    sources: dict[str, int]


def say_lines(
    texts: Sequence[tuple[int, str]], project: Project | None, language: str = ""
) -> SaidLines:
    """Say lines as a project's ``phonemes`` feature does, or as the builtin one outside.

    Args:
        texts: line number and text.
        language: of all lines; by default that of the project, else English.

    Raises:
        UsageError: ``language`` is no language tag.
        ModelRefusedError: weights of the project are not recorded, gone or changed.
        ConfigError: an error in ``pronunciations.csv``.
    """
    if language and not is_language_tag(language):
        raise UsageError(f"--language {language}: wanted a tag like en, en-GB or de")
    if project is None:
        backend, speaker = "builtin", _without_project()
    else:
        keys = FeatureKeys(project)
        backend, speaker = keys.backend("phonemes"), keys.speaker()
        language = language or project.config.footage.language
    language = language or "en"
    lines = tuple(_said(speaker, number, text, language) for number, text in texts)
    sources = Counter(word.source for line in lines for word in line.words)
    return SaidLines(backend, language, lines, dict(sorted(sources.items())))


def _without_project() -> WordPhonemes:
    folder = fetched(G2P)
    return PhonemeExtractor(PhonemeConfig(), {G2P: folder} if folder else {})


def _said(speaker: WordPhonemes, number: int, text: str, language: str) -> SaidLine:
    try:
        said = speaker.saying(text, language)
    except FeatureAbsent as error:
        return SaidLine(number, text, (), (), (), (), (), str(error))
    try:
        speaker.words(text, language)
        problem = ""
    except FeatureAbsent as error:
        problem = str(error)
    words = tuple(SaidWord(w.text, w.phones, w.source, w.start, w.end) for w in said.words)
    return SaidLine(
        line=number,
        text=text,
        words=words,
        phones=tuple(phone for word in words for phone in word.phones),
        guessed=tuple(dict.fromkeys(w.text for w in said.words if w.guessed)),
        unknown=said.unknown,
        not_spoken=tuple(
            SilentText(s.kind, s.text, s.name, s.start, s.end)
            for s in said.reading.silent
            if s.kind != "space"
        ),
        problem=problem,
    )


def lines_of_file(path: Path) -> list[tuple[int, str]]:
    """Read the lines of a text file with their numbers; empty lines are left out.

    There are no comments: a line that begins with ``#`` is spoken, too.

    Raises:
        ConfigError: E-IN-MISSING, no such file; E-IN-TEXT, it is not UTF-8 or has no line.
    """
    existing_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8", code="E-IN-TEXT"
        ) from error
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ConfigError(f"{path} has no line of text", code="E-IN-TEXT")
    return lines
