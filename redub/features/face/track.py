"""Track the speaking face: one box in every frame of a clip.

The first source that finds a face in the clip is used: the boxes of the user, YuNet if its file is
recorded, OpenCV's cascades. A detector searches every fifth frame and the first frame of each shot.
Overlapping boxes become tracks, and the track of the speaker is kept in each shot
(:mod:`redub.features.face.active_speaker`). The boxes of other frames are interpolated.
Letters: V video frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ConfigError, FeatureAbsent
from redub.core.types import ByteArray, ClipMedia, FloatArray
from redub.features.base import FeatureSchema, Media, WeightUser, frames_of
from redub.features.face import boxes as face_boxes
from redub.features.face import yunet
from redub.features.face.active_speaker import loudness_of, speaking_track
from redub.features.face.boxes import UserBoxes
from redub.features.face.detector import HaarFaceDetector, recorded_score
from redub.features.face.following import Follow, LedFollower, LinkedFollower, Track
from redub.features.face.yunet import YuNetDetector
from redub.features.picture.shots import shot_starts
from redub.features.picture.small_frames import small_frames
from redub.features.runtime import Runtime
from redub.features.weights.folder import WeightFolder

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceTrackConfig:
    """Settings of the feature ``face_track``.

    Attributes:
        probe_every: frames from one search to the next.
        full_search_every: searches from one search of the whole frame to the next; it finds new
            faces. The other searches look around known faces. For the cascades only.
        min_face: smallest face, as a fraction of the shorter side of the frame.
        min_neighbours: overlapping raw hits that a face needs; more give fewer false faces. For the
            cascades only.
        min_share: fraction of the searched frames that must show the face.
        boxes: entry of the weights ledger with the boxes of the user (kind ``face_boxes``); empty
            for none.
        yunet: entry of the weights ledger with YuNet's file (kind ``yunet``); empty for none.
        yunet_score: least score of a face of YuNet, in (0, 1].
    """

    probe_every: int = 5
    full_search_every: int = 6
    min_face: float = 0.1
    min_neighbours: int = 3
    min_share: float = 0.5
    boxes: str = ""
    yunet: str = ""
    yunet_score: float = 0.9

    def __post_init__(self) -> None:
        if self.probe_every < 1 or self.full_search_every < 1 or self.min_neighbours < 1:
            raise ConfigError(
                "face_track: probe_every, full_search_every and min_neighbours must be at least 1, "
                f"found {self.probe_every}, {self.full_search_every}, {self.min_neighbours}"
            )
        shares = (self.min_face, self.min_share, self.yunet_score)
        if not all(0.0 < share <= 1.0 for share in shares):
            raise ConfigError(
                "face_track: min_face, min_share and yunet_score must lie in (0, 1], "
                f"found {self.min_face}, {self.min_share}, {self.yunet_score}"
            )


class FaceTrackExtractor(WeightUser):
    """Compute one face box per frame from frames."""

    version: ClassVar[int] = 3  # shots are found in small frames that other features use, too
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("speech_level",)
    optional: ClassVar[frozenset[str]] = frozenset({"speech_level"})
    Config: ClassVar[type] = FaceTrackConfig

    def __init__(
        self,
        config: FaceTrackConfig,
        folders: Mapping[str, WeightFolder] | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__(config, folders or {}, runtime or Runtime())
        self.config: FaceTrackConfig = config
        self._given: UserBoxes | None = None
        self._followers: list[Follow] = []

    @classmethod
    def weights_wanted(cls, config: FaceTrackConfig) -> dict[str, tuple[str, str]]:
        """Return the roles ``boxes`` and ``yunet`` for which the settings name an entry."""
        roles = {
            "boxes": (config.boxes, face_boxes.KIND),
            "yunet": (config.yunet, yunet.KIND),
        }
        return {role: entry for role, entry in roles.items() if entry[0]}

    @property
    def schema(self) -> FeatureSchema:
        """Rows of five numbers, one per frame."""
        return FeatureSchema(kind="frames", width=5)

    def extract(self, media: ClipMedia) -> FloatArray:
        """Find and track the face of the speaker.

        Reads ``speech_level`` (V, 1) if the clip has sound.

        Returns:
            (V, 5) float32 rows x, y, w, h, score in pixels of the decoded frame. A box may reach
            outside the frame. The score is above 0 where the frame was searched and the face
            found, and it encodes the detector (``face_detector.detector_of``). It is 0 where the
            box is interpolated or copied.

        Raises:
            FeatureAbsent: E-FEAT-OFFSCREEN, the speaker is not in the picture; E-FEAT-NOFACE, fewer
                than ``min_share`` of the searched frames show the face, or the clip has no frames.
            ClipError: E-FEAT-BOXES, a box of the user does not fit the clip.
            ModelRefusedError: the file of the user's boxes or of YuNet is not valid.
        """
        if media.clip.off_screen:
            raise FeatureAbsent("the speaker is not in the picture", code="E-FEAT-OFFSCREEN")
        frames = media.frames
        if frames is None or len(frames) == 0:
            raise FeatureAbsent(
                "the clip has no video frame to find a face in", code="E-FEAT-NOFACE"
            )
        if self.config.boxes:
            height, width = frames.shape[1:3]
            drawn = self.given.rows(media.clip.clip_id, len(frames), (width, height))
            if drawn is not None:
                return drawn
        loudness_db = None
        if "speech_level" in media.features:
            loudness_db = loudness_of(frames_of(media.features, "speech_level"))
        shots = [*media.once(shot_starts, media.once(small_frames, frames)), len(frames)]
        probes = sorted({*range(0, len(frames), self.config.probe_every), *shots[:-1]})
        for follow in self.followers:
            tracks = self._tracks(frames, shots, probes, follow, loudness_db)
            if tracks is not None:
                return _rows(tracks, shots)
        raise FeatureAbsent(
            f"too few of the {len(probes)} searched frames show a face; wanted at least "
            f"{self.config.min_share:.0%}",
            code="E-FEAT-NOFACE",
        )

    @property
    def given(self) -> UserBoxes:
        """The boxes of the user; read once per process, at the first clip."""
        if self._given is None:
            self._given = UserBoxes(self.folders["boxes"])
        return self._given

    @property
    def followers(self) -> list[Follow]:
        """The detectors, most reliable first; loaded once per process, at the first clip."""
        if not self._followers:
            self._followers = self.detectors()
        return self._followers

    def detectors(self) -> list[Follow]:
        """Load YuNet, if its file is recorded, and the cascades."""
        config = self.config
        loaded: list[Follow] = []
        if config.yunet:
            network = YuNetDetector(
                self.folders["yunet"], min_face=config.min_face, threshold=config.yunet_score
            )
            loaded.append(LinkedFollower(network.faces).follow)
        cascades = HaarFaceDetector(min_face=config.min_face, min_neighbours=config.min_neighbours)
        led = LedFollower(cascades, full_search_every=config.full_search_every)
        return [*loaded, led.follow]

    def _tracks(
        self,
        frames: ByteArray,
        shots: list[int],
        probes: list[int],
        follow: Follow,
        loudness_db: Floats | None,
    ) -> list[Track | None] | None:
        """The speaker's track in each shot; None if too few searches found a face."""
        chosen: list[Track | None] = []
        searched = found = 0
        for start, end in pairwise(shots):
            inside = [k for k in probes if start <= k < end]
            open_probes = len(probes) - searched - len(inside)
            needed = self.config.min_share * len(probes) - found - open_probes
            tracks = follow(frames, inside, needed)
            track = speaking_track(frames, tracks, (start, end), loudness_db)
            searched += len(inside)
            found += len(track.boxes) if track else 0
            chosen.append(track)
        return chosen if found >= self.config.min_share * len(probes) else None


def _rows(chosen: list[Track | None], shots: list[int]) -> FloatArray:
    """Smooth the boxes of each shot and interpolate the frames between them."""
    rows = np.zeros((shots[-1], 5), dtype=np.float64)
    filled = np.zeros(len(chosen), dtype=bool)
    for i, (track, start, end) in enumerate(zip(chosen, shots, shots[1:], strict=False)):
        if track is None:
            continue
        filled[i] = True
        at = np.fromiter(track.boxes, dtype=np.int64)
        found = list(track.boxes.values())
        boxes = np.array([box[:4] for box in found])  # (hits, 4)
        centres = median_smoothed(boxes[:, :2] + boxes[:, 2:4] / 2, 3)
        sizes = median_smoothed(boxes[:, 2:4], 7)  # the size of a head changes slowly
        clock = np.arange(start, end)
        for column, values in enumerate(np.concatenate([centres - sizes / 2, sizes], axis=1).T):
            rows[start:end, column] = np.interp(clock, at, values)
        rows[at, 4] = [recorded_score(box) for box in found]
    for i in map(int, np.flatnonzero(~filled)):
        # A shot without a face gets a copy of a box of the nearest shot with a face.
        donors = np.flatnonzero(filled)
        donor = int(donors[np.argmin(np.abs(donors - i))])
        edge = shots[donor + 1] - 1 if donor < i else shots[donor]
        rows[shots[i] : shots[i + 1], :4] = rows[edge, :4]
    return rows.astype(np.float32)


def median_smoothed(values: Floats, width: int) -> Floats:
    """Compute the running median along axis 0; near the ends the window shrinks symmetrically."""
    smoothed = values.copy()
    for i in range(len(values)):
        half = min(width // 2, i, len(values) - 1 - i)
        smoothed[i] = np.median(values[i - half : i + half + 1], axis=0)
    return smoothed
