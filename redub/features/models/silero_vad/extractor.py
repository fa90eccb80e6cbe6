"""The feature ``speech_level`` by Silero VAD: the level of the speech band where a voice is heard.

Music and noise have a level, too. The choice of the speaking face compares the movement of lips
with the level, so a level that follows the voice alone compares with the right thing.
Letters: V video frames, S samples, N chunks of 512 samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import soxr
from numpy.typing import NDArray

from redub.core.errors import ConfigError
from redub.core.types import ClipMedia, FloatArray
from redub.features.base import FeatureSchema, Media, WeightUser
from redub.features.models.shared_networks import shared
from redub.features.runtime import Runtime
from redub.features.sound.samples import waveform_of
from redub.features.sound.speech_input import RATE_HZ
from redub.features.sound.speech_level import SILENT_DB, VIDEO_FRAMES_PER_S, speech_level_db
from redub.features.weights.folder import WeightFolder

if TYPE_CHECKING:
    from redub.features.models.silero_vad.network import VoiceActivity

KIND = "silero_vad"


@dataclass(frozen=True, slots=True, kw_only=True)
class SileroSpeechLevelConfig:
    """Settings of ``[features.speech_level]`` with the backend ``silero_vad``.

    Attributes:
        weights: entry of the weights ledger.
        threshold: probability of a voice from which a piece of 32 ms is speech.
        margin_s: kept before and after speech, in seconds.
    """

    weights: str = KIND
    threshold: float = 0.5
    margin_s: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0:
            raise ConfigError(
                f"features.speech_level.threshold is {self.threshold}; wanted more than 0, less "
                "than 1",
                code="E-CFG-VALUE",
            )
        if not 0.0 <= self.margin_s <= 2.0:
            raise ConfigError(
                f"features.speech_level.margin_s is {self.margin_s}; wanted 0 to 2",
                code="E-CFG-VALUE",
            )


class SileroSpeechLevel(WeightUser):
    """Compute (V, 1) float32 decibels from sound; -100 in frames without a voice."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    Config: ClassVar[type] = SileroSpeechLevelConfig

    def __init__(
        self,
        config: SileroSpeechLevelConfig,
        folders: Mapping[str, WeightFolder],
        runtime: Runtime,
    ) -> None:
        super().__init__(config, folders, runtime)
        self._network: VoiceActivity | None = None

    @classmethod
    def weights_wanted(cls, config: Any) -> dict[str, tuple[str, str]]:
        """Return one role, ``model``."""
        return {"model": (config.weights, KIND)}

    @property
    def schema(self) -> FeatureSchema:
        """One number per video frame."""
        return FeatureSchema(kind="frames", width=1)

    def extract(self, media: ClipMedia) -> FloatArray:
        """Compute the level of one clip, and silence it where no voice is heard.

        Raises:
            FeatureAbsent: E-FEAT-NOSOUND, the source has no sound.
            ClipError: E-IN-NAN, a sample is not a finite number.
        """
        waveform = waveform_of(media)
        level = speech_level_db(waveform)
        if len(level) == 0:
            return level[:, None]
        samples = np.asarray(waveform.samples, np.float32)
        if waveform.sample_rate_hz != RATE_HZ:
            samples = soxr.resample(samples, waveform.sample_rate_hz, RATE_HZ, quality="HQ")
        level[~self._voiced_frames(samples, len(level))] = SILENT_DB
        return level[:, None]

    def _voiced_frames(self, samples: FloatArray, count: int) -> NDArray[np.bool_]:
        """Which of ``count`` video frames have a voice in at least half of their samples: (V,)."""
        import torch

        from redub.features.models.silero_vad.network import load_voice_activity, voiced_samples

        if self._network is None:
            weights = self.folders["model"]
            self._network = shared(KIND, weights, lambda: load_voice_activity(weights))
        with torch.inference_mode():
            probabilities = self._network(torch.from_numpy(samples)).numpy()
        voiced = voiced_samples(
            probabilities,
            len(samples),
            least=self.config.threshold,
            margin_s=self.config.margin_s,
        )
        length = RATE_HZ // VIDEO_FRAMES_PER_S
        filled = np.zeros(count * length, dtype=np.bool_)
        kept = min(len(voiced), len(filled))
        filled[:kept] = voiced[:kept]
        share: NDArray[np.bool_] = filled.reshape(count, length).mean(axis=1) >= 0.5
        return share
