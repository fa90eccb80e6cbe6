"""Join faces found in single pictures to tracks: who is the same face from search to search.

Two ways: a detector that is slow on whole pictures is led by the last boxes, one that sees every
face at once is simply linked up. Letters: V video frames, H and W picture height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2

from redub.core.types import ByteArray
from redub.features.face.detector import Box, Grey, HaarFaceDetector, overlap

Follow = Callable[[ByteArray, list[int], float], list["Track"]]
"""(frames (V, H, W, 3), frames to search, hits still needed) to the tracks of one shot."""

MOST_TRACKS = 3  # faces followed at once; a crowd's small faces are not the speaker
PROFILE_EVERY = 3  # searches of the whole picture for a new profile face
SAME_LEVEL = 0.5  # mean grey-level difference of two pictures that show the same
SAME_FACE = 0.3  # overlap of two boxes that may be one face


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


class LedFollower:
    """Tracks by the Haar cascades: whole pictures now and then, known faces' neighbourhood else."""

    def __init__(self, detector: HaarFaceDetector, *, full_search_every: int) -> None:
        self.detector = detector
        self.full_search_every = full_search_every

    def follow(self, frames: ByteArray, probes: list[int], needed: float) -> list[Track]:
        """Tracks of one shot; gives up once ``needed`` hits can no longer be reached."""
        tracks: list[Track] = []
        for i, k in _while_reachable(tracks, probes, needed):
            picture = cv2.cvtColor(frames[k], cv2.COLOR_RGB2GRAY)
            if not self._continue(tracks, picture, k) or i % self.full_search_every == 0:
                # Profiles cost most and cannot be missed for long, so they wait for their turn.
                self._look_everywhere(tracks, picture, k, profiles=i % PROFILE_EVERY == 0)
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
            if old is not None and overlap(old.last, box) >= SAME_FACE:
                if k not in old.boxes:
                    old.boxes[k], old.lost, old.seen = self._refined(picture, box), False, picture
            elif len(tracks) < 2 * MOST_TRACKS:
                tracks.append(Track(boxes={k: self._refined(picture, box)}, seen=picture))

    def _refined(self, picture: Grey, box: Box) -> Box:
        """The box as the later searches of its neighbourhood will see it."""
        return self.detector.near(picture, box) or box


class LinkedFollower:
    """Tracks by a detector that finds every face of a whole picture."""

    def __init__(self, faces_of: Callable[[ByteArray], list[Box]]) -> None:
        self.faces_of = faces_of

    def follow(self, frames: ByteArray, probes: list[int], needed: float) -> list[Track]:
        """Tracks of one shot; gives up once ``needed`` hits can no longer be reached."""
        tracks: list[Track] = []
        for _, k in _while_reachable(tracks, probes, needed):
            for box in self.faces_of(frames[k])[:MOST_TRACKS]:
                free = [track for track in tracks if k not in track.boxes]
                old = max(free, key=lambda track: overlap(track.last, box), default=None)
                if old is not None and overlap(old.last, box) >= SAME_FACE:
                    old.boxes[k] = box
                elif len(tracks) < 2 * MOST_TRACKS:
                    tracks.append(Track(boxes={k: box}))
        return tracks


def _while_reachable(
    tracks: list[Track], probes: list[int], needed: float
) -> Iterator[tuple[int, int]]:
    """Number and frame of each search, as long as ``needed`` frames with a face can be reached."""
    hits = 0
    for i, k in enumerate(probes):
        if hits + len(probes) - i < needed:
            return
        yield i, k
        hits += any(k in track.boxes for track in tracks)


def unchanged(before: Grey, now: Grey, box: Box) -> bool:
    """Whether a face's surroundings are the same picture, so that its box still holds.

    Searching again would move the box by the cascade's own grid and show motion where none is.
    """
    left, top = max(0, int(box.x)), max(0, int(box.y))
    area = (slice(top, int(box.y + box.h)), slice(left, int(box.x + box.w)))
    return float(cv2.norm(before[area], now[area], cv2.NORM_L1)) < SAME_LEVEL * box.area
