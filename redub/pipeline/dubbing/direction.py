"""Controls of a dub: director's notes on retrieval, pitch, energy, rate, emotion and voice.

Options of the command line apply to all lines of the script, or to those of ``--line``. A TOML
file can set them for every line separately.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from redub.core.config import nearest
from redub.core.errors import ConfigError, UsageError
from redub.core.records import JsonRecord
from redub.core.types import EMOTIONS, FloatArray
from redub.index.notes import NOUNS, Notes
from redub.pipeline.store.index.builds import OpenIndex
from redub.training.data.lines import Hits
from redub.training.synthesis import PLAIN, VoiceControl


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionTarget:
    """A target emotion and its intensity: 0 changes nothing, 1 is the mean of that emotion."""

    emotion: str
    intensity: float

    @classmethod
    def parse(cls, words: str) -> EmotionTarget:
        """Read ``sad:0.7``, or ``sad`` for intensity 1.

        Raises:
            UsageError: an unknown emotion, with the nearest; an intensity outside 0 to 1.
        """
        name, colon, number = words.partition(":")
        name = NOUNS.get(name.strip().lower(), name.strip().lower())
        if name not in EMOTIONS:
            raise UsageError(f"unknown emotion '{name}'; {nearest(name, [*EMOTIONS, *NOUNS])}")
        intensity = _number(number, words) if colon else 1.0
        if not 0.0 <= intensity <= 1.0:
            raise UsageError(f"'{words}': wanted an intensity from 0 to 1, as in {name}:0.7")
        return cls(emotion=name, intensity=intensity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls(JsonRecord):
    """Pitch, energy, rate, voice and emotion of one script line, as stored; defaults left out."""

    OMITS_DEFAULTS: ClassVar[bool] = True

    pitch: float = PLAIN.pitch
    pitch_range: float = PLAIN.pitch_range
    energy: float = PLAIN.energy
    rate: float = PLAIN.rate
    voice: str | None = None
    emotion: EmotionTarget | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineDirection:
    """The controls of one script line; the defaults change nothing.

    ``voice``: a speaker or clip id of the library, instead of the line's own speaker.
    """

    notes: Notes = field(default_factory=Notes)
    control: VoiceControl = PLAIN
    emotion_target: EmotionTarget | None = None
    voice: str | None = None

    def __bool__(self) -> bool:
        return self != LineDirection()

    @property
    def controls(self) -> Controls:
        """The controls as the take record keeps them, without the notes."""
        control = self.control
        return Controls(
            pitch=control.pitch,
            pitch_range=control.pitch_range,
            energy=control.energy,
            rate=control.rate,
            voice=self.voice,
            emotion=self.emotion_target,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """The controls of a script: ``single`` by line number (from 1), ``everywhere`` for the rest."""

    everywhere: LineDirection = field(default_factory=LineDirection)
    single: Mapping[int, LineDirection] = field(default_factory=dict)

    @classmethod
    def of_lines(cls, wanted: LineDirection, lines: Sequence[int]) -> Direction:
        """The same controls for these lines; without lines, for the whole script."""
        if not lines:
            return cls(everywhere=wanted)
        return cls(single=dict.fromkeys(lines, wanted))

    def on(self, line: int) -> LineDirection:
        """The controls of a script line, numbered from 1."""
        return self.single.get(line, self.everywhere)

    def all(self) -> list[LineDirection]:
        """Every set of controls that some line may have, for checks."""
        return [self.everywhere, *self.single.values()]


def parse_control(
    *,
    pitch: str | None = None,
    pitch_range: str | None = None,
    energy: str | None = None,
    rate: str | None = None,
) -> VoiceControl:
    """Read controls as they are typed.

    Args:
        pitch: semitones, for example ``+2st``.
        pitch_range: factor, for example ``1.3`` or ``130%``.
        energy: decibels, for example ``+3dB``.
        rate: factor, for example ``0.9`` or ``90%``.

    Raises:
        UsageError: not a number, another unit, or out of bounds.
    """
    values: dict[str, float] = {}
    if pitch is not None:
        values["pitch"] = _number(pitch, pitch, unit="st") / 12
    if pitch_range is not None:
        values["pitch_range"] = _factor(pitch_range)
    if energy is not None:
        values["energy"] = _number(energy, energy, unit="dB")
    if rate is not None:
        values["rate"] = _factor(rate)
    return VoiceControl(**values)


FILE_KEYS = (
    "pitch", "range", "energy", "rate", "emotion", "voice",
    "more", "less", "like", "not", "film",
)  # fmt: skip


def read_direction(path: Path) -> Direction:
    """Read the controls of a TOML file: a table ``[all]``, and ``[line.3]`` for the third line.

    A line gets the keys of ``[all]`` and of its table; where both have a key, ``[line.N]`` wins.

    Raises:
        ConfigError: no such file, not TOML, an unknown key, or a value out of range.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", code="E-DUB-FILE") from error
    for key in document:
        if key not in ("all", "line"):
            raise ConfigError(f"{path}: unknown table '{key}'; known: all, line", code="E-CFG-KEY")
    common = _table(path, "all", document.get("all", {}))
    lines = document.get("line", {})
    if not isinstance(lines, dict) or not all(re.fullmatch(r"[1-9]\d*", n) for n in lines):
        raise ConfigError(f"{path}: lines are numbered from 1, as in [line.3]", code="E-CFG-KEY")
    return Direction(
        everywhere=_asked(path, "all", common),
        single={
            int(n): _asked(path, f"line.{n}", {**common, **_table(path, f"line.{n}", own)})
            for n, own in lines.items()
        },
    )


def _table(path: Path, where: str, table: object) -> dict[str, list[str]]:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: '{where}' wants a table", code="E-CFG-TYPE")
    for key in table:
        if key not in FILE_KEYS:
            raise ConfigError(
                f"{path}: unknown key '{where}.{key}'; {nearest(key, FILE_KEYS)}", code="E-CFG-KEY"
            )
    return {key: _words(path, where, key, value) for key, value in table.items()}


def _asked(path: Path, where: str, words: Mapping[str, list[str]]) -> LineDirection:

    def one(key: str) -> str | None:
        """The only value of a key; None where the table does not have it."""
        return words[key][0] if key in words else None

    try:
        return LineDirection(
            notes=Notes.parse(
                more=words.get("more", ()),
                less=words.get("less", ()),
                like=words.get("like", ()),
                unlike=words.get("not", ()),
                films=words.get("film", ()),
            ),
            control=parse_control(
                pitch=one("pitch"), pitch_range=one("range"), energy=one("energy"), rate=one("rate")
            ),
            emotion_target=None if (said := one("emotion")) is None else EmotionTarget.parse(said),
            voice=one("voice"),
        )
    except UsageError as error:
        raise ConfigError(f"{path}, [{where}]: {error.message}", code="E-CFG-VALUE") from error


def _words(path: Path, where: str, key: str, value: object) -> list[str]:
    values = value if isinstance(value, list) and key in FILE_KEYS[6:] else [value]
    if not values or not all(
        isinstance(v, str | int | float) and not isinstance(v, bool) for v in values
    ):
        raise ConfigError(f"{path}: '{where}.{key}' is {value!r}; wanted words", code="E-CFG-TYPE")
    return [str(v) for v in values]


def _factor(words: str) -> float:
    if words.strip().endswith("%"):
        return _number(words, words, unit="%") / 100
    return _number(words, words)


def _number(words: str, said: str, *, unit: str = "") -> float:
    """The number of ``+3dB``. The unit may be left out; another unit is refused."""
    bare = words.strip()
    if unit and bare.lower().endswith(unit.lower()):
        bare = bare[: -len(unit)].strip()
    try:
        number = float(bare)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"'{said}': wanted a number{f', as in +2{unit}' if unit else ''}")
    return number


# -- moving vectors towards an emotion


def check_emotion_target(index: OpenIndex, emotion_target: EmotionTarget) -> None:
    """Refuse an emotion that no library clip is labelled with.

    Raises:
        UsageError: with the labels that the library has.
    """
    _labelled(index, np.arange(len(index.clips)), emotion_target)


def shift_query(
    index: OpenIndex, modality: str, vector: FloatArray, emotion_target: EmotionTarget
) -> FloatArray:
    """Move a query vector (D,) towards the mean of the library clips of that emotion.

    Raises:
        UsageError: no library clip has that label.
    """
    target = index.vectors[modality][
        _labelled(index, index.modalities[modality].rows, emotion_target)
    ]
    return _moved(vector, target, emotion_target.intensity)


def shift_retrieved(index: OpenIndex, hits: Hits, emotion_target: EmotionTarget) -> Hits:
    """Move the audio vectors of retrieved clips towards the mean of that emotion."""
    rows = np.arange(len(index.clips))
    target = index.audio[_labelled(index, rows, emotion_target)]
    return replace(hits, audio=_moved(hits.audio, target, emotion_target.intensity))


def _moved(values: FloatArray, target: FloatArray, intensity: float) -> FloatArray:
    mean = target.astype(np.float64).mean(0)
    moved: FloatArray = ((1 - intensity) * values + intensity * mean).astype(np.float32)
    return moved


def _labelled(index: OpenIndex, rows: Any, emotion_target: EmotionTarget) -> Any:
    """(n,) bool: whether a library row is labelled with the emotion."""
    labels = [index.clips[row].emotion for row in rows]
    found = np.array([label == emotion_target.emotion for label in labels])
    if not found.any():
        known = ", ".join(sorted({label for label in labels if label}))
        raise UsageError(
            f"no library clip is labelled '{emotion_target.emotion}'; labels of the library: "
            f"{known or 'none (add an emotions.csv)'}"
        )
    return found
