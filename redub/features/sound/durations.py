"""Phoneme durations in mel frames, by forced alignment of the text to the sound.

Source: pocketsphinx (Huggins-Daines et al. 2006) with the acoustic model of its wheel: first the
words with optional pauses between them, then the phones within the words.
Letters: S samples, T mel frames, P phonemes, R rows (phonemes and the pauses between them).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pocketsphinx
import soxr
from numpy.typing import NDArray

from redub.core.errors import FeatureAbsent
from redub.core.phonemes import SIL, id_of, is_pause
from redub.core.types import AudioSpec, ClipMedia
from redub.features.base import FeatureSchema, LocalExtractor, Media, frames_of
from redub.features.sound.samples import Samples, checked_samples, refuse_silence, waveform_of
from redub.features.sound.waveform import to_int16
from redub.features.text.phonemes import ReadsWords
from redub.features.text.pronunciation import Word

ALIGNER_HZ = 16_000  # sample rate of the acoustic model
ALIGNER_FRAME_S = 0.010
ALIGNER_WINDOW_S = 0.0256  # window length; the window of frame k starts at k · 10 ms
DITHER_STEPS = (4, 40)
"""Amplitudes of the added noise, in 16-bit steps, because digital silence has no logarithm. If the
background is cleaner than a recording, the first search can fail; the second adds more noise."""


class Span(NamedTuple):
    """One aligned phone; ``start`` and ``frames`` count frames of the aligner (10 ms)."""

    phone: str
    start: int
    frames: int


class ForcedAligner:
    """A pocketsphinx decoder that is reset before every clip.

    Its dictionary starts empty. Each utterance adds its words with the pronunciations of the
    ``phonemes`` feature, so the aligner finds exactly these phones.
    """

    def __init__(self) -> None:
        self._decoder = pocketsphinx.Decoder(lm=None, dict=None, loglevel="FATAL")

    def align(self, pcm: NDArray[np.int16], words: Sequence[Word]) -> list[Span]:
        """Align words to sound; returns phones and pauses in order, without gaps.

        Args:
            pcm: (S,) at 16 kHz.

        Raises:
            FeatureAbsent: E-ALIGN-FAILED, no path through the words fits the sound.
        """
        for word in words:
            if self._decoder.lookup_word(word.text) is None:
                self._decoder.add_word(word.text, " ".join(word.phones), True)
        line = " ".join(word.text for word in words)
        for steps in DITHER_STEPS:
            spans = self._search(line, _dithered(pcm, steps).tobytes())
            if spans:
                return spans
        raise FeatureAbsent(
            f"the {len(words)} words could not be aligned to {len(pcm) / ALIGNER_HZ:.2f} s of "
            "sound; check that the text is what the speaker says",
            code="E-ALIGN-FAILED",
        )

    def _search(self, line: str, sound: bytes) -> list[Span]:
        """Align the words, then the phones inside them; empty if no path has all words."""
        try:
            self._decoder.set_align_text(line)
            self._decode(sound)
            best = self._decoder.hyp()
            if best is None or best.hypstr != line:
                return []
            self._decoder.set_alignment()
            self._decode(sound)
            return [
                Span(phone.name, phone.start, phone.duration)
                for word in self._decoder.get_alignment()
                for phone in word
            ]
        except RuntimeError:  # pocketsphinx raises it if there is no path
            return []

    def _decode(self, sound: bytes) -> None:
        # Noise statistics and cepstral means of the previous clip must not affect this clip.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(sound, full_utt=True)
        self._decoder.end_utt()


def _dithered(pcm: NDArray[np.int16], steps: int) -> NDArray[np.int16]:
    seed = int.from_bytes(hashlib.sha256(pcm.tobytes()).digest()[:8], "little")
    noise = np.random.default_rng(seed).integers(-steps, steps + 1, size=len(pcm))
    # The noise is int64, because int16 would overflow at full scale.
    louder: NDArray[np.int16] = np.clip(pcm + noise, -32768, 32767).astype(np.int16)
    return louder


def rows_of(spans: Sequence[Span], audio: AudioSpec, frames: int) -> NDArray[np.int32]:
    """Convert spans to (R, 2) int32 rows of (phoneme id, mel frames) that sum to ``frames``.

    Consecutive pauses are merged. Ends are rounded to mel frames, so a phone may last 0 mel frames
    if a mel frame is longer than the aligner's minimum of 30 ms. The last row gets the frames that
    the aligner's window left over.
    """
    rows: list[list[int]] = []
    hop_s = audio.hop_samples / audio.sample_rate_hz
    # A border lies midway between the centres of two windows, in aligner and in mel frames.
    lead_s = (ALIGNER_WINDOW_S - ALIGNER_FRAME_S) / 2.0
    start = 0
    for place, span in enumerate(spans):
        last = place == len(spans) - 1
        end_s = (span.start + span.frames) * ALIGNER_FRAME_S + lead_s
        end = frames if last else min(round(end_s / hop_s), frames)
        phoneme = SIL if _is_filler(span.phone) else id_of(span.phone)
        if rows and phoneme == SIL and rows[-1][0] == SIL:
            rows[-1][1] += end - start
        else:
            rows.append([phoneme, end - start])
        start = end
    return np.array(rows, dtype=np.int32)


class TimedPhone(NamedTuple):
    """One phone with its start and end, in seconds from the start of the clip."""

    phoneme: int
    start_s: float
    end_s: float


def rows_on_mel_clock(
    phones: Sequence[TimedPhone], audio: AudioSpec, frames: int
) -> NDArray[np.int32]:
    """Convert phones to (R, 2) int32 rows of (phoneme id, mel frames) that sum to ``frames``.

    A border at t seconds is at mel frame round(t · sr / hop). A gap of at least one frame between
    phones, before the first or after the last phone becomes a row ``sil``.
    """
    rows: list[tuple[int, int]] = []
    last = 0
    for phoneme, start_s, end_s in phones:
        start, end = (_mel_frame(time_s, audio, last, frames) for time_s in (start_s, end_s))
        if start > last:
            rows.append((SIL, start - last))
        rows.append((phoneme, end - start))
        last = end
    if frames > last:
        rows.append((SIL, frames - last))
    return np.array(rows, dtype=np.int32)


def _mel_frame(time_s: float, audio: AudioSpec, least: int, most: int) -> int:
    return min(max(round(time_s * audio.sample_rate_hz / audio.hop_samples), least), most)


def _is_filler(phone: str) -> bool:
    return phone == "SIL" or phone.startswith("+")


def _at_aligner_rate(samples: Samples, audio: AudioSpec) -> NDArray[np.int16]:
    if audio.sample_rate_hz == ALIGNER_HZ:
        return to_int16(samples)
    return to_int16(np.asarray(soxr.resample(samples, audio.sample_rate_hz, ALIGNER_HZ)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DurationConfig:
    """Settings of the builtin feature ``durations``."""

    audio: AudioSpec


class DurationExtractor(ReadsWords, LocalExtractor):
    """Compute (R, 2) int32 rows of (phoneme id, mel frames) from sound and text; they sum to T.

    The rows without ``sil`` are the ``phonemes`` feature in its order.
    """

    media: ClassVar[frozenset[Media]] = frozenset({"waveform", "text"})
    reads: ClassVar[tuple[str, ...]] = ("phonemes",)
    Config: ClassVar[type] = DurationConfig

    def __init__(self, config: DurationConfig) -> None:
        self.audio = config.audio
        self._aligner: Any = None  # built at the first clip, because it loads the acoustic model

    @property
    def schema(self) -> FeatureSchema:
        """Rows of two int32."""
        return FeatureSchema(kind="frames", width=2, dtype="int32")

    def extract(self, media: ClipMedia) -> NDArray[np.int32]:
        """Align the text of a clip to its sound.

        Raises:
            FeatureAbsent: no sound, silence, no text, or E-ALIGN-FAILED.
        """
        samples = checked_samples(waveform_of(media), self.audio)
        refuse_silence(samples)
        words = self.spoken(media.clip.text, media.clip.language)
        if self._aligner is None:
            self._aligner = ForcedAligner()
        spans = self._aligner.align(_at_aligner_rate(samples, self.audio), words)
        rows = rows_of(spans, self.audio, self.audio.frame_count(len(samples)))
        wanted = frames_of(media.features, "phonemes")[:, 0]
        found = np.array([row[0] for row in rows if not is_pause(int(row[0]))], dtype=np.int32)
        if not np.array_equal(found, wanted):
            raise FeatureAbsent(
                f"{len(found)} phones aligned, wanted {len(wanted)}", code="E-ALIGN-FAILED"
            )
        return rows
