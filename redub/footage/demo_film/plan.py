"""Plan the whole demo film before it is drawn: scenes, speakers, emotions, texts and cues.

The context coupling and the reliabilities of the cues are known by design. They limit what an
extractor or a model can find in the film.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from redub.core.errors import ConfigError
from redub.core.types import EMOTIONS
from redub.footage.demo_film.cast import CAST
from redub.footage.demo_film.sentences import MOST_CHOICES, SHARES, compose_from
from redub.footage.demo_film.stage import PLACES

SPLITS = ("train", "validation", "test")
SHARES_OF = {"train": range(12), "validation": range(12, 15), "test": range(15, SHARES)}
"""Parts of the language (see :func:`~redub.footage.demo_film.sentences.share_of`) of each split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmSpec:
    """All settings of the demo film.

    Attributes:
        scenes, lines_per_scene: counts.
        width, height: frame size in pixels, both even.
        speakers: number of actors, at most six.
        scene_cue, face_cue, text_cue: probability that the light, the facial expression or the
            wording shows the emotion of the line.
        context_before, context_after: weights (a, b) with which the prosody of the previous and
            the next line changes that of a line.
        noise: scale of the random part of the prosody; 0 is none.
        choices: how many words can fill one place of a sentence. A short film with few choices says
            each word often.

    Raises:
        ConfigError: E-CFG-VALUE, a value is out of its range or a side is odd.
    """

    seed: int = 7
    scenes: int = 24
    lines_per_scene: int = 14
    width: int = 256
    height: int = 256
    speakers: int = 6
    scene_cue: float = 0.7
    face_cue: float = 0.8
    text_cue: float = 0.5
    context_before: float = 0.3
    context_after: float = 0.3
    noise: float = 1.0
    choices: int = MOST_CHOICES

    def __post_init__(self) -> None:
        ranges = {
            "scenes": (1, 999), "lines_per_scene": (1, 200), "speakers": (1, len(CAST)),
            "width": (64, 2048), "height": (64, 2048), "scene_cue": (0, 1), "face_cue": (0, 1),
            "text_cue": (0, 1), "context_before": (0, 1), "context_after": (0, 1),
            "noise": (0, 3), "choices": (4, MOST_CHOICES), "seed": (0, 2**63 - 1),
        }  # fmt: skip
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(
                    f"demo film: {name} is {value}; legal: {least} to {most}", code="E-CFG-VALUE"
                )
        if self.width % 2 or self.height % 2:
            raise ConfigError(
                f"demo film: {self.width}x{self.height}: both sides must be even",
                code="E-CFG-VALUE",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One planned line. ``*_cue`` is the emotion that scene, face or text shows."""

    speaker: str
    emotion: str
    text: str
    scene_cue: str
    face_cue: str
    text_cue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One planned scene; ``name`` is also the stem of its files."""

    name: str
    split: str
    place: str
    lines: tuple[Line, ...]


def rng_for(spec: FilmSpec, *words: object) -> np.random.Generator:
    """Make the random generator for one purpose; equal words give equal numbers in any process."""
    key = "/".join(map(str, (spec.seed, *words)))
    return np.random.default_rng([spec.seed, zlib.crc32(key.encode())])


def split_sizes(scenes: int) -> dict[str, int]:
    """Return the number of scenes per split.

    About two thirds train, an eighth validates, the rest tests. Of few scenes the first are for
    training.
    """
    train = max(1, round(scenes * 2 / 3))
    validation = min(max(1, round(scenes / 8)), max(scenes - train - 1, 0))
    return {"train": train, "validation": validation, "test": scenes - train - validation}


def _splits(spec: FilmSpec) -> list[str]:
    """One split per scene, in random order."""
    row = [name for name, count in split_sizes(spec.scenes).items() for _ in range(count)]
    order = rng_for(spec, "splits").permutation(spec.scenes)
    return [row[index] for index in order]


def _emotions(spec: FilmSpec, split: str, scenes: int) -> list[list[str]]:
    """(scenes, lines) balanced emotions; about 45 % of the lines repeat the previous emotion."""
    rng = rng_for(spec, "emotions", split)
    total = scenes * spec.lines_per_scene
    left = dict.fromkeys(EMOTIONS, total // len(EMOTIONS))
    for emotion in rng.permutation(EMOTIONS)[: total % len(EMOTIONS)]:
        left[str(emotion)] += 1
    film: list[list[str]] = []
    for _ in range(scenes):
        row: list[str] = []
        while len(row) < spec.lines_per_scene:
            if row and left[row[-1]] and rng.random() < 0.52:
                choice = row[-1]
            else:
                others = [e for e in EMOTIONS if left[e] and (not row or e != row[-1])]
                others = others or [e for e in EMOTIONS if left[e]]
                weight = np.array([left[e] for e in others], float) ** 2
                choice = others[int(rng.choice(len(others), p=weight / weight.sum()))]
            left[choice] -= 1
            row.append(choice)
        film.append(row)
    return film


def _speakers(spec: FilmSpec, split: str, emotions: list[list[str]]) -> list[list[str]]:
    """Choose speakers so that each speaker has each emotion about equally often.

    Three actors share a scene; a speaker rarely has two lines in a row.
    """
    rng = rng_for(spec, "speakers", split)
    names = [actor.name for actor in CAST[: spec.speakers]]
    said = {(name, emotion): 0 for name in names for emotion in EMOTIONS}
    lines = dict.fromkeys(names, 0)
    film = []
    for row in emotions:
        ranked = sorted(names, key=lambda name: (lines[name], rng.random()))
        present = ranked[: min(3, len(names))]
        spoken: list[str] = []
        for emotion in row:
            cost = {
                name: said[name, emotion]
                + 0.15 * lines[name]
                + (2.0 if spoken and name == spoken[-1] else 0.0)
                + 0.5 * rng.random()
                for name in present
            }
            name = min(present, key=cost.__getitem__)
            said[name, emotion] += 1
            lines[name] += 1
            spoken.append(name)
        film.append(spoken)
    return film


def _cue(emotion: str, reliability: float, rng: np.random.Generator) -> str:
    """The emotion itself with probability ``reliability``, else another emotion."""
    if rng.random() < reliability:
        return emotion
    others = [e for e in EMOTIONS if e != emotion]
    return others[int(rng.integers(len(others)))]


def _wording(emotion: str, reliability: float, rng: np.random.Generator) -> str:
    """Like :func:`_cue`, but a wording that does not show the emotion is neutral."""
    shown = _cue(emotion, reliability, rng)
    return shown if shown == emotion or emotion == "neutral" else "neutral"


def plan_film(spec: FilmSpec) -> list[Scene]:
    """Plan the whole film.

    Returns:
        One :class:`Scene` per scene, in film order. No sentence occurs twice in the film, and each
        split uses only its part of the language.

    Raises:
        ValueError: the film needs more sentences than the language has.
    """
    splits = _splits(spec)
    rows: dict[str, list[tuple[list[str], list[str]]]] = {}
    for split in SPLITS:
        emotions = _emotions(spec, split, splits.count(split))
        rows[split] = list(zip(emotions, _speakers(spec, split, emotions), strict=True))
    taken: set[str] = set()
    film = []
    digits = max(2, len(str(spec.scenes)))
    for number, split in enumerate(splits, start=1):
        emotions_row, speakers_row = rows[split].pop(0)
        rng = rng_for(spec, "cues", number)
        lines = []
        for emotion, speaker in zip(emotions_row, speakers_row, strict=True):
            wording = _wording(emotion, spec.text_cue, rng)
            text = compose_from(wording, SHARES_OF[split], taken, rng, choices=spec.choices)
            taken.add(text)
            lines.append(
                Line(
                    speaker=speaker,
                    emotion=emotion,
                    text=text,
                    scene_cue=_cue(emotion, spec.scene_cue, rng),
                    face_cue=_cue(emotion, spec.face_cue, rng),
                    text_cue=wording,
                )
            )
        place = PLACES[int(rng.integers(len(PLACES)))]
        name = f"scene_{number:0{digits}d}"
        film.append(Scene(name=name, split=split, place=place, lines=tuple(lines)))
    return film
