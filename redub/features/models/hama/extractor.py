"""Phoneme durations by hama: the phonemes of the text are aligned to what the network hears.

The text is refused where the best path through its phonemes is much less probable than what the
network hears: the words are not those that are spoken.
Letters: T mel frames, R rows, F frames of the network, N phonemes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ConfigError, FeatureAbsent
from redub.core.phonemes import symbol_of
from redub.core.types import AudioSpec, ClipMedia, FloatArray, Value
from redub.features.base import FeatureSchema, Media, frames_of
from redub.features.models.ctc.alignment import best_path, check_room
from redub.features.models.hama.phones import NO_PHONE, PHONES, heard_phones
from redub.features.models.hama.recognition import PACKAGE, frame_count, recognise
from redub.features.models.hama.timing import timed_phones
from redub.features.models.model_extractor import ModelExtractor
from redub.features.sound.durations import rows_on_mel_clock
from redub.features.sound.speech_input import speech_of
from redub.features.text.pronunciation import plain_phone

_SHOWN = 40  # heard phones in a message


class Line(NamedTuple):
    """The prepared input of one clip."""

    speech: FloatArray  # (S,) at 16 kHz
    frames: int  # T
    phonemes: tuple[int, ...]  # (N,) ids


@dataclass(frozen=True, slots=True, kw_only=True)
class HamaConfig:
    """Settings of the backend ``hama`` of the feature ``durations``.

    Attributes:
        weights: entry of the weights ledger.
        pause_s: a quiet stretch of at least this length between two phonemes becomes a row ``sil``;
            0.05 to 10 seconds.
        max_misfit: the text is refused where its path is less probable than what is heard by more
            than this, in nats per phoneme; more than 0.
    """

    audio: AudioSpec
    weights: str = PACKAGE
    pause_s: float = 0.2
    max_misfit: float = 2.5

    def __post_init__(self) -> None:
        if not 0.05 <= self.pause_s <= 10.0:
            raise ConfigError(
                f"'pause_s' is {self.pause_s}; wanted 0.05 to 10 seconds", code="E-CFG-VALUE"
            )
        if not self.max_misfit > 0:
            raise ConfigError(
                f"'max_misfit' is {self.max_misfit}; wanted more than 0", code="E-CFG-VALUE"
            )


class HamaDurations(ModelExtractor):
    """Compute (R, 2) int32 rows of (phoneme id, mel frames) from sound and text; they sum to T.

    The rows without ``sil`` are the ``phonemes`` feature in its order.
    """

    kind: ClassVar[str] = PACKAGE
    media: ClassVar[frozenset[Media]] = frozenset({"waveform", "text"})
    reads: ClassVar[tuple[str, ...]] = ("phonemes",)
    Config: ClassVar[type] = HamaConfig
    batch: ClassVar[int] = 1
    one_by_one: ClassVar[bool] = True

    @property
    def schema(self) -> FeatureSchema:
        """Rows of two int32."""
        return FeatureSchema(kind="frames", width=2, dtype="int32")

    def load(self) -> Any:
        """Return the weights: a child process loads them, at the first clip."""
        return self.weights

    def describe(self) -> dict[str, str]:
        """Describe the network for `redub doctor --weights`."""
        return {"gives": "frames × 2", "phones": str(len(PHONES))}

    def prepare(self, media: ClipMedia) -> Line:
        """Prepare the sound and the phonemes of one clip.

        Raises:
            FeatureAbsent: no sound or silence; E-ALIGN-FAILED, too many phonemes for the sound.
        """
        audio: AudioSpec = self.config.audio
        speech = speech_of(media, audio)
        phonemes = tuple(int(phoneme) for phoneme in frames_of(media.features, "phonemes")[:, 0])
        check_room(frame_count(len(speech)), len(phonemes), sum(_repeats(_columns(phonemes))))
        samples = 0 if media.waveform is None else len(media.waveform.samples)
        return Line(speech, audio.frame_count(samples), phonemes)

    def compute(self, inputs: Sequence[Line]) -> list[Value]:
        """Align each input.

        Raises:
            FeatureAbsent: E-ALIGN-FAILED, the words are not what is heard; E-FEAT-NONFINITE.
            ModelRefusedError, ClipError: see :func:`recognise`.
        """
        return [self._align(line) for line in inputs]

    def _align(self, line: Line) -> NDArray[np.int32]:
        audio: AudioSpec = self.config.audio
        scores = recognise(line.speech, self.network)
        if np.isnan(scores).any():
            raise FeatureAbsent("the network's output is not a number", code="E-FEAT-NONFINITE")
        spans = phone_spans(scores, _columns(line.phonemes), max_misfit=self.config.max_misfit)
        phones = timed_phones(spans, line.phonemes, line.speech, pause_s=self.config.pause_s)
        return rows_on_mel_clock(phones, audio, line.frames)

    def size(self, prepared: Line) -> float:
        """Samples of the sound, for sorting into batches."""
        return float(len(prepared.speech))


def phone_spans(
    scores: NDArray[np.float64], columns: Sequence[int], *, max_misfit: float
) -> NDArray[np.int64]:
    """Find the frames of phones that are spoken in order.

    The misfit is the log-probability of the most probable path of any phones, minus that of the
    best path through the given ones, per phone.

    Args:
        scores: (F, 40) log-probabilities of the phones; the last column is no phone.
        columns: (N,) columns of the spoken phones, N > 0.
        max_misfit: largest misfit in nats.

    Returns:
        (N, 2) first frame of each phone and the first frame after it.

    Raises:
        FeatureAbsent: E-ALIGN-FAILED, a larger misfit, or too few frames.
    """
    spans = best_path(scores[:, list(columns)], scores[:, NO_PHONE], _repeats(columns))
    path = scores[:, NO_PHONE].copy()
    for column, (first, last) in zip(columns, spans, strict=True):
        path[first:last] = scores[first:last, column]
    misfit = float((scores.max(axis=1) - path).sum() / len(columns))
    if misfit > max_misfit:
        heard = heard_phones(scores)
        more = " …" if len(heard) > _SHOWN else ""
        raise FeatureAbsent(
            f"the sound does not fit the text: misfit {misfit:.1f} nats per phoneme, at most "
            f"{max_misfit:g} allowed; heard: {' '.join(heard[:_SHOWN]) or 'no phoneme'}{more}; "
            "check that the text is what the speaker says",
            code="E-ALIGN-FAILED",
        )
    return spans


def _columns(phonemes: Sequence[int]) -> list[int]:
    """Columns of phoneme ids in the network's scores.

    Raises:
        FeatureAbsent: E-ALIGN-FAILED, an id is a pause.
    """
    plain = [plain_phone(symbol_of(phoneme)) for phoneme in phonemes]
    if None in plain:
        raise FeatureAbsent("a pause is no phoneme of the text", code="E-ALIGN-FAILED")
    return [PHONES.index(str(phone)) for phone in plain]


def _repeats(columns: Sequence[int]) -> list[bool]:
    return [n > 0 and columns[n] == columns[n - 1] for n in range(len(columns))]
