"""Durations by a CTC network: the line's letters or phones are placed on the sound.

A network whose vocabulary holds ARPAbet phones places the phones themselves. One that knows
letters places the *words*; the time of a word is then shared out equally among its phonemes, which
is a rule, not a measurement: word borders are the network's, borders within a word are not.
Letters: T mel frames, R rows, N labels of the line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ConfigError, FeatureAbsent
from redub.core.phonemes import id_of, symbol_of
from redub.core.types import AudioSpec, ClipMedia, FloatArray, Value
from redub.features.base import FeatureSchema, Media, frames_of
from redub.features.models.ctc.alignment import Piece, best_path, check_room, timed_phones
from redub.features.models.ctc.checkpoint import (
    SILENT_LETTERS,
    Labels,
    Vocabulary,
    frame_clock,
    read_vocabulary,
)
from redub.features.models.model_extractor import ModelExtractor
from redub.features.runtime import Runtime
from redub.features.sound.durations import rows_on_mel_clock
from redub.features.sound.speech_input import speech_of
from redub.features.text.espeak import espeak_words, require_espeak
from redub.features.text.lexicon import LexiconConfig, LexiconPhonemes
from redub.features.text.phonemes import ids_of
from redub.features.text.pronunciation import Word, pronounce
from redub.features.weights.folder import WeightFolder

KIND = "ctc"


class Line(NamedTuple):
    """One clip, ready for the network."""

    speech: FloatArray  # (S,) at 16 kHz
    frames: int  # T
    labels: Labels
    repeats: tuple[bool, ...]
    pieces: tuple[Piece, ...]  # a piece without phonemes is the delimiter between two words


@dataclass(frozen=True, slots=True, kw_only=True)
class CtcConfig:
    """Settings of the maker ``ctc``.

    ``weights``: the entry of the weights ledger. ``pause_s``: a gap longer than this is a row
    ``sil``. ``words``: by whom the ``phonemes`` feature is made, so that a network of letters knows
    which phonemes are one word; ``lexicon``, ``then``: that maker's settings.
    """

    audio: AudioSpec
    weights: str = KIND
    pause_s: float = 0.25
    words: Literal["builtin", "lexicon", "espeak"] = "builtin"
    lexicon: str = "lexicon"
    then: Literal["none", "espeak"] = "none"

    def __post_init__(self) -> None:
        if not 0.0 <= self.pause_s <= 10.0:
            raise ConfigError(
                f"'pause_s' is {self.pause_s}; wanted 0 to 10 seconds", code="E-CFG-VALUE"
            )


class CtcDurations(ModelExtractor):
    """Sound and text in, (R, 2) int32 rows of (phoneme id, mel frames) out; they sum to T.

    The rows without ``sil`` are the ``phonemes`` feature, in its order. A text that is not what is
    said is aligned all the same: CTC finds the best place for any line.
    """

    kind: ClassVar[str] = KIND
    media: ClassVar[frozenset[Media]] = frozenset({"waveform", "text"})
    reads: ClassVar[tuple[str, ...]] = ("phonemes",)
    Config: ClassVar[type] = CtcConfig
    batch: ClassVar[int] = 1

    def __init__(self, config: Any, folders: Mapping[str, WeightFolder], runtime: Runtime) -> None:
        super().__init__(config, folders, runtime)
        self.audio: AudioSpec = config.audio
        self._vocabulary: Vocabulary | None = None
        self._clock = (0, 0)
        self._lexicon: LexiconPhonemes | None = None
        if config.words == "lexicon":
            settings = LexiconConfig(weights=config.lexicon, then=config.then)
            self._lexicon = LexiconPhonemes(settings, {"lexicon": folders["lexicon"]}, runtime)
        elif config.words == "espeak":
            require_espeak()

    @classmethod
    def weights_wanted(cls, config: Any) -> dict[str, tuple[str, str]]:
        wanted = {"model": (config.weights, KIND)}
        if config.words == "lexicon":
            wanted["lexicon"] = (config.lexicon, "lexicon")
        return wanted

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="frames", width=2, dtype="int32")

    def load(self) -> Any:
        from redub.features.models.ctc.network import load_network

        return load_network(self.weights, device=self.runtime.torch_device())

    def prepare(self, media: ClipMedia) -> Line:
        """Raises:
        FeatureAbsent: no sound or silence; the line has other phonemes than the ``phonemes``
            feature, labels that the network cannot write, or too many for the sound.
        """
        if self._vocabulary is None:
            self._vocabulary = read_vocabulary(self.weights)
            self._clock = frame_clock(self.weights)
        window, step = self._clock
        speech = speech_of(media, self.audio, least=window)
        wanted = frames_of(media.features, "phonemes")[:, 0]
        if self._vocabulary.units == "phones":
            labels, pieces = phone_labels(wanted, self._vocabulary)
        else:
            labels, pieces = word_labels(self._words(media.clip.text, wanted), self._vocabulary)
        repeats = tuple(n > 0 and labels[n] == labels[n - 1] for n in range(len(labels)))
        check_room((len(speech) - window) // step + 1, len(labels), sum(repeats))
        samples = 0 if media.waveform is None else len(media.waveform.samples)
        return Line(speech, self.audio.frame_count(samples), labels, repeats, pieces)

    def _words(self, text: str, wanted: NDArray[np.int32]) -> list[Word]:
        if self._lexicon is not None:
            words = self._lexicon.words(text)
        else:
            words = espeak_words(text) if self.config.words == "espeak" else pronounce(text)
        if not np.array_equal(ids_of(words), wanted):
            raise FeatureAbsent(
                f"the words as '{self.config.words}' says them are not the phonemes feature; set "
                "words of [features.durations] to its maker",
                code="E-ALIGN-DIFFERS",
            )
        return words

    def compute(self, inputs: Sequence[Line]) -> list[Value]:
        return [self._align(line) for line in inputs]

    def _align(self, line: Line) -> NDArray[np.int32]:
        scores = self.network.log_probabilities(line.speech)
        assert self._vocabulary is not None
        if np.isnan(scores).any():
            raise FeatureAbsent("the network's output is not a number", code="E-FEAT-NONFINITE")
        labels = np.stack([scores[:, list(entries)].max(axis=1) for entries in line.labels], axis=1)
        spans = best_path(labels, scores[:, self._vocabulary.blank], line.repeats)
        window, step = self._clock
        phones = timed_phones(
            spans,
            line.pieces,
            window=window,
            step=step,
            pause_s=self.config.pause_s,
            end_s=line.frames * self.audio.hop_samples / self.audio.sample_rate_hz,
        )
        return rows_on_mel_clock(phones, self.audio, line.frames)

    def size(self, prepared: Line) -> float:
        return float(len(prepared.speech))


def phone_labels(
    phonemes: NDArray[np.int32], vocabulary: Vocabulary
) -> tuple[Labels, tuple[Piece, ...]]:
    """One label and one piece per phoneme."""
    labels = vocabulary.labels([symbol_of(int(phoneme)) for phoneme in phonemes])
    return labels, tuple(Piece(1, (int(phoneme),)) for phoneme in phonemes)


def word_labels(words: Sequence[Word], vocabulary: Vocabulary) -> tuple[Labels, tuple[Piece, ...]]:
    """The letters of each word, and the delimiter between words if the vocabulary has one.

    Raises:
        FeatureAbsent: E-ALIGN-FAILED, a letter that the network cannot write.
    """
    labels: list[tuple[int, ...]] = []
    pieces: list[Piece] = []
    for word in words:
        if pieces and vocabulary.delimiter is not None:
            labels.append((vocabulary.delimiter,))
            pieces.append(Piece(1, ()))
        letters = [
            letter
            for letter in word.text
            if letter in vocabulary.entries or letter not in SILENT_LETTERS
        ]
        labels += vocabulary.labels(letters)
        pieces.append(Piece(len(letters), tuple(id_of(phone) for phone in word.phones)))
    return tuple(labels), tuple(pieces)
