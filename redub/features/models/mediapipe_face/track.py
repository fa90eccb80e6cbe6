"""Track the speaking face with MediaPipe's detectors; the cascades are the fallback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from redub.core.errors import ConfigError
from redub.features.face.following import Follow
from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor
from redub.features.models.mediapipe_face.detector import MediaPipeDetector
from redub.features.models.mediapipe_face.network import KIND


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPipeTrackConfig(FaceTrackConfig):
    """Settings of ``[features.face_track]`` with the backend ``mediapipe``.

    Attributes:
        weights: entry of the weights ledger.
        score: least score of a face, in (0, 1].
        fallback: what searches a clip in which MediaPipe finds too few faces: ``builtin`` (YuNet if
            its file is recorded, then the cascades) or ``none``. The other settings, those of the
            cascades too, are those of the builtin backend.
    """

    weights: str = KIND
    score: float = 0.6
    fallback: Literal["builtin", "none"] = "builtin"

    def __post_init__(self) -> None:
        # dataclass(slots=True) builds a second class, and super() without arguments uses the first.
        super(MediaPipeTrackConfig, self).__post_init__()
        if not 0.0 < self.score <= 1.0:
            raise ConfigError(f"face_track: score must lie in (0, 1], found {self.score}")


class MediaPipeTrack(FaceTrackExtractor):
    """Compute one face box per frame, in the form of the builtin boxes.

    The detector that found the face is in the score of each row, as in the builtin backend.
    """

    version: ClassVar[int] = 1
    Config: ClassVar[type] = MediaPipeTrackConfig
    config: MediaPipeTrackConfig

    @classmethod
    def weights_wanted(cls, config: FaceTrackConfig) -> dict[str, tuple[str, str]]:
        """Return the role ``mediapipe``, and the roles of the builtin backend."""
        assert isinstance(config, MediaPipeTrackConfig)
        return {"mediapipe": (config.weights, KIND), **super().weights_wanted(config)}

    def detectors(self) -> list[Follow]:
        """MediaPipe's detector, then those of the builtin backend."""
        config = self.config
        network = MediaPipeDetector(
            self.folders["mediapipe"], min_face=config.min_face, threshold=config.score
        )
        first: list[Follow] = [network.follow]
        return first + (super().detectors() if config.fallback == "builtin" else [])
