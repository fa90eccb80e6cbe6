"""The speaking face's box in every frame of a clip.

Every fifth frame and every first frame of a shot is searched (:mod:`redub.features.face_detector`),
boxes that overlap become tracks, the best track of each shot is kept, and the frames between are
interpolated. Letters: V video frames, H and W picture height and width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ConfigError, FeatureAbsent
from redub.core.types import ByteArray, ClipMedia, FloatArray
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.face_detector import Box, Grey, HaarFaceDetector, overlap
from redub.features.shots import shot_starts

MOST_TRACKS = 3  # faces followed at once; a crowd's small faces are not the speaker
PROFILE_EVERY = 3  # searches of the whole picture for a new profile face
SAME_LEVEL = 0.5  # mean grey-level difference of two pictures that show the same
RIVAL = 0.6  # a track this close to the leader may still win by the motion of its mouth


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceTrackConfig:
    """``probe_every``: frames from one search to the next.

    ``full_search_every``: every how many searches the whole picture is looked at, so that a
    second face is seen; in between only the neighbourhood of known faces. ``min_face``: the
    smallest face, as a share of the picture's shorter side. ``min_neighbours``: overlapping raw
    hits that make a face (more: fewer false ones). ``min_share``: probed frames that must show
    the face.
    """

    probe_every: int = 5
    full_search_every: int = 6
    min_face: float = 0.1
    min_neighbours: int = 3
    min_share: float = 0.5

    def __post_init__(self) -> None:
        if self.probe_every < 1 or self.full_search_every < 1 or self.min_neighbours < 1:
            raise ConfigError(
                "face_track: probe_every, full_search_every and min_neighbours must be at least 1, "
                f"found {self.probe_every}, {self.full_search_every}, {self.min_neighbours}"
            )
        if not (0.0 < self.min_face <= 1.0 and 0.0 < self.min_share <= 1.0):
            raise ConfigError(
                "face_track: min_face and min_share must lie in (0, 1], "
                f"found {self.min_face}, {self.min_share}"
            )


@dataclass(slots=True)
class Track:
    """One face through one shot: the boxes found, by frame."""

    boxes: dict[int, Box] = field(default_factory=dict)
    lost: bool = False  # not found by the last search
    seen: Grey | None = None  # the picture that the last box was searched in

    @property
    def last(self) -> Box:
        return next(reversed(self.boxes.values()))

    @property
    def weight(self) -> float:
        """Large, often found and confidently found faces weigh most."""
        boxes = self.boxes.values()
        return sum(box.w * box.score for box in boxes)


class FaceTrackExtractor(LocalExtractor):
    """Frames in, one box per frame out."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    Config: ClassVar[type] = FaceTrackConfig

    def __init__(self, config: FaceTrackConfig) -> None:
        self.config = config
        self.detector = HaarFaceDetector(
            min_face=config.min_face, min_neighbours=config.min_neighbours
        )

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="frames", width=5)

    def extract(self, media: ClipMedia) -> FloatArray:
        """Find and follow the dominant face.

        Returns:
            (V, 5) float32 rows x, y, w, h, score in pixels of the decoded frame. The box may
            reach over the picture's edge. score is above 0 (at most 1) where the frame was
            searched and the face found; it is 0 where the box is interpolated or held.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, fewer than ``min_share`` of the searched frames show it.
        """
        frames = media.frames
        if frames is None or len(frames) == 0:
            raise FeatureAbsent("the clip has no picture to find a face in", code="E-FEAT-NOFACE")
        shots = [*shot_starts(frames), len(frames)]
        probes = sorted({*range(0, len(frames), self.config.probe_every), *shots[:-1]})
        chosen: list[Track | None] = []
        searched = found = 0
        for start, end in pairwise(shots):
            inside = [k for k in probes if start <= k < end]
            open_probes = len(probes) - searched - len(inside)
            needed = self.config.min_share * len(probes) - found - open_probes
            track = self._dominant(frames, self._follow(frames, inside, needed))
            searched += len(inside)
            found += len(track.boxes) if track else 0
            chosen.append(track)
        if found < self.config.min_share * len(probes):
            raise FeatureAbsent(
                f"too few of the {len(probes)} searched frames show a face; wanted at least "
                f"{self.config.min_share:.0%}",
                code="E-FEAT-NOFACE",
            )
        return _rows(chosen, shots)

    def _follow(self, frames: ByteArray, probes: list[int], needed: float) -> list[Track]:
        """Tracks of one shot; gives up once ``needed`` hits can no longer be reached."""
        tracks: list[Track] = []
        hits = 0
        for i, k in enumerate(probes):
            if hits + len(probes) - i < needed:
                break
            picture = cv2.cvtColor(frames[k], cv2.COLOR_RGB2GRAY)
            if not self._continue(tracks, picture, k) or i % self.config.full_search_every == 0:
                # Profiles cost most and cannot be missed for long, so they wait for their turn.
                self._look_everywhere(tracks, picture, k, profiles=i % PROFILE_EVERY == 0)
            hits += any(k in track.boxes for track in tracks)
        return tracks

    def _continue(self, tracks: list[Track], picture: Grey, k: int) -> bool:
        """Search around each known face; whether any was found."""
        for track in tracks:
            if track.lost:
                continue
            if track.seen is not None and unchanged(track.seen, picture, track.last):
                track.boxes[k] = track.last
                continue
            box = self.detector.near(picture, track.last)
            if box is None:
                track.lost = True
            else:
                track.boxes[k], track.seen = box, picture
        return any(not track.lost for track in tracks)

    def _look_everywhere(
        self, tracks: list[Track], picture: Grey, k: int, *, profiles: bool
    ) -> None:
        """Search the whole picture; revive lost tracks and open new ones."""
        boxes = self.detector.frontal_faces(picture)
        if profiles and not boxes and all(track.lost for track in tracks):
            boxes = self.detector.profile_faces(picture)
        for box in boxes[:MOST_TRACKS]:
            old = max(tracks, key=lambda track: overlap(track.last, box), default=None)
            if old is not None and overlap(old.last, box) >= 0.3:
                if k not in old.boxes:
                    old.boxes[k], old.lost, old.seen = self._refined(picture, box), False, picture
            elif len(tracks) < 2 * MOST_TRACKS:
                tracks.append(Track(boxes={k: self._refined(picture, box)}, seen=picture))

    def _refined(self, picture: Grey, box: Box) -> Box:
        """The box as the later searches of its neighbourhood will see it."""
        return self.detector.near(picture, box) or box

    def _dominant(self, frames: ByteArray, tracks: list[Track]) -> Track | None:
        """The heaviest track; between near equals, the one whose mouth moves most."""
        if not tracks:
            return None
        heaviest = max(track.weight for track in tracks)
        rivals = [track for track in tracks if track.weight >= RIVAL * heaviest]
        if len(rivals) == 1:
            return rivals[0]
        return max(rivals, key=lambda track: mouth_motion(frames, track))


def unchanged(before: Grey, now: Grey, box: Box) -> bool:
    """Whether a face's surroundings are the same picture, so that its box still holds.

    Searching again would move the box by the cascade's own grid and show motion where none is.
    """
    left, top = max(0, int(box.x)), max(0, int(box.y))
    area = (slice(top, int(box.y + box.h)), slice(left, int(box.x + box.w)))
    return float(cv2.norm(before[area], now[area], cv2.NORM_L1)) < SAME_LEVEL * box.area


def mouth_motion(frames: ByteArray, track: Track) -> float:
    """How much more the lower third of a face changes than its upper half, in grey levels.

    The upper half carries the motion of the head and camera, which a listener has too.
    """
    lower: list[float] = []
    upper: list[float] = []
    for k, box in track.boxes.items():
        if k + 1 >= len(frames):
            continue
        left, right = max(0, int(box.x + 0.2 * box.w)), int(box.x + 0.8 * box.w)
        rows = [max(0, int(box.y + share * box.h)) for share in (0.15, 0.5, 0.62, 0.95)]
        pair = frames[k : k + 2, :, left:right].astype(np.float32)
        change = np.abs(pair[1] - pair[0])
        for part, top, bottom in ((upper, rows[0], rows[1]), (lower, rows[2], rows[3])):
            region = change[top:bottom]
            part.append(float(region.mean()) if region.size else 0.0)
    return float(np.mean(lower) - np.mean(upper)) if lower else 0.0


def _rows(chosen: list[Track | None], shots: list[int]) -> FloatArray:
    """Smooth each shot's boxes and fill the frames between them."""
    rows = np.zeros((shots[-1], 5), dtype=np.float64)
    filled = np.zeros(len(chosen), dtype=bool)
    for i, (track, start, end) in enumerate(zip(chosen, shots, shots[1:], strict=False)):
        if track is None:
            continue
        filled[i] = True
        at = np.fromiter(track.boxes, dtype=np.int64)
        boxes = np.array(list(track.boxes.values()))  # (hits, 5)
        centres = median_smoothed(boxes[:, :2] + boxes[:, 2:4] / 2, 3)
        sizes = median_smoothed(boxes[:, 2:4], 7)  # a head's size changes slower than its place
        clock = np.arange(start, end)
        for column, values in enumerate(np.concatenate([centres - sizes / 2, sizes], axis=1).T):
            rows[start:end, column] = np.interp(clock, at, values)
        rows[at, 4] = boxes[:, 4]
    for i in map(int, np.flatnonzero(~filled)):
        # A shot without a face holds the box of the nearest shot that has one.
        donors = np.flatnonzero(filled)
        donor = int(donors[np.argmin(np.abs(donors - i))])
        edge = shots[donor + 1] - 1 if donor < i else shots[donor]
        rows[shots[i] : shots[i + 1], :4] = rows[edge, :4]
    return rows.astype(np.float32)


def median_smoothed(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Running median along axis 0; near the ends the window shrinks symmetrically."""
    smoothed = values.copy()
    for i in range(len(values)):
        half = min(width // 2, i, len(values) - 1 - i)
        smoothed[i] = np.median(values[i - half : i + half + 1], axis=0)
    return smoothed
