"""Phoneme durations by a CTC network, which aligns the letters or phones to the sound.

A network with ARPAbet phones in its vocabulary aligns the phones. A network with letters aligns the
*words*; the time of a word is then divided equally among its phonemes. So word borders are
measured, but phoneme borders inside a word are not.
Letters: T mel frames, R rows, N labels of the utterance.
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
from redub.features.text.phonemes import ReadsWords, ids_of
from redub.features.text.pronunciation import Word, pronounce
from redub.features.weights.folder import WeightFolder

KIND = "ctc"


class Line(NamedTuple):
    """The prepared input of one clip."""

    speech: FloatArray  # (S,) at 16 kHz
    frames: int  # T
    labels: Labels
    repeats: tuple[bool, ...]
    pieces: tuple[Piece, ...]  # a piece without phonemes is the delimiter between two words


@dataclass(frozen=True, slots=True, kw_only=True)
class CtcConfig:
    """Settings of the backend ``ctc`` of the feature ``durations``.

    Attributes:
        weights: entry of the weights ledger.
        pause_s: a gap longer than this becomes a row ``sil``; 0 to 10 seconds.
        words: how a network of letters knows which phonemes belong to a word: ``phonemes`` asks
            the backend of that feature, the others are those of a backend, for phonemes that came
            from elsewhere.
        lexicon, then: settings of that backend.
    """

    audio: AudioSpec
    weights: str = KIND
    pause_s: float = 0.25
    words: Literal["phonemes", "builtin", "lexicon", "espeak"] = "phonemes"
    lexicon: str = "lexicon"
    then: Literal["none", "espeak"] = "none"

    def __post_init__(self) -> None:
        if not 0.0 <= self.pause_s <= 10.0:
            raise ConfigError(
                f"'pause_s' is {self.pause_s}; wanted 0 to 10 seconds", code="E-CFG-VALUE"
            )


class CtcDurations(ReadsWords, ModelExtractor):
    """Compute (R, 2) int32 rows of (phoneme id, mel frames) from sound and text; they sum to T.

    The rows without ``sil`` are the ``phonemes`` feature in its order. A wrong text is aligned,
    too: CTC finds the best path for any text.
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
        """Return the network, and the lexicon if ``words`` is "lexicon"."""
        wanted = {"model": (config.weights, KIND)}
        if config.words == "lexicon":
            wanted["lexicon"] = (config.lexicon, "lexicon")
        return wanted

    @property
    def schema(self) -> FeatureSchema:
        """Rows of two int32."""
        return FeatureSchema(kind="frames", width=2, dtype="int32")

    def load(self) -> Any:
        """Load the network onto the device."""
        from redub.features.models.ctc.network import load_network

        return load_network(self.weights, device=self.runtime.torch_device())

    def prepare(self, media: ClipMedia) -> Line:
        """Prepare the sound and the labels of one clip.

        Raises:
            FeatureAbsent: no sound or silence; the words do not give the ``phonemes`` feature; a
                label is not in the vocabulary; or there are too many labels for the sound.
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
            labels, pieces = word_labels(self._words(media, wanted), self._vocabulary)
        repeats = tuple(n > 0 and labels[n] == labels[n - 1] for n in range(len(labels)))
        check_room((len(speech) - window) // step + 1, len(labels), sum(repeats))
        samples = 0 if media.waveform is None else len(media.waveform.samples)
        return Line(speech, self.audio.frame_count(samples), labels, repeats, pieces)

    def _words(self, media: ClipMedia, wanted: NDArray[np.int32]) -> list[Word]:
        text = media.clip.text
        if self.config.words == "phonemes":
            words = self.spoken(text, media.clip.language)
        elif self._lexicon is not None:
            words = self._lexicon.words(text)
        else:
            words = espeak_words(text) if self.config.words == "espeak" else pronounce(text)
        if not np.array_equal(ids_of(words), wanted):
            raise FeatureAbsent(
                f"the words as '{self.config.words}' says them are not the phonemes feature; set "
                "words of [features.durations] to the backend of phonemes",
                code="E-ALIGN-DIFFERS",
            )
        return words

    def compute(self, inputs: Sequence[Line]) -> list[Value]:
        """Align each input.

        Raises:
            FeatureAbsent: E-ALIGN-FAILED, E-FEAT-NONFINITE.
        """
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
        """Samples of the sound, for sorting into batches."""
        return float(len(prepared.speech))


def phone_labels(
    phonemes: NDArray[np.int32], vocabulary: Vocabulary
) -> tuple[Labels, tuple[Piece, ...]]:
    """Make one label and one piece per phoneme.

    Raises:
        FeatureAbsent: E-ALIGN-FAILED, a phoneme is not in the vocabulary.
    """
    labels = vocabulary.labels([symbol_of(int(phoneme)) for phoneme in phonemes])
    return labels, tuple(Piece(1, (int(phoneme),)) for phoneme in phonemes)


def word_labels(words: Sequence[Word], vocabulary: Vocabulary) -> tuple[Labels, tuple[Piece, ...]]:
    """Make labels from the letters of the words, with the vocabulary's word delimiter between.

    Raises:
        FeatureAbsent: E-ALIGN-FAILED, a letter is not in the vocabulary.
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
