"""Join faces that were found in single frames to tracks of the same face.

There are two ways. A detector that is slow on whole frames searches around the last boxes. For a
detector that finds all faces of a frame at once, boxes of successive searches are linked by
overlap. Letters: V video frames, H and W frame height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2

from redub.core.types import ByteArray
from redub.features.face.detector import Box, Grey, HaarFaceDetector, overlap

Follow = Callable[[ByteArray, list[int], float], list["Track"]]
"""(frames (V, H, W, 3), indices to search, needed number of hits) → the tracks of one shot."""

MOST_TRACKS = 3  # faces tracked at once; the small faces of a crowd are not the speaker
PROFILE_EVERY = 3  # every third search also looks for a new profile face
SAME_LEVEL = 0.5  # largest mean grey-level difference of two equal images
SAME_FACE = 0.3  # least overlap of two boxes of the same face


@dataclass(slots=True)
class Track:
    """One face in one shot: frame index → box."""

    boxes: dict[int, Box] = field(default_factory=dict)
    lost: bool = False  # not found by the last search
    seen: Grey | None = None  # the frame of the last search

    @property
    def last(self) -> Box:
        """The box that was found last."""
        return next(reversed(self.boxes.values()))

    @property
    def weight(self) -> float:
        """Sum of width times score: large, frequent and certain faces have a high weight."""
        boxes = self.boxes.values()
        return sum(box.w * box.score for box in boxes)


class LedFollower:
    """Track faces with the Haar cascades around known faces, and sometimes in the whole frame.

    Args:
        full_search_every: searches between two searches of the whole frame.
    """

    def __init__(self, detector: HaarFaceDetector, *, full_search_every: int) -> None:
        self.detector = detector
        self.full_search_every = full_search_every

    def follow(self, frames: ByteArray, probes: list[int], needed: float) -> list[Track]:
        """Track the faces of one shot; stop when ``needed`` hits can no longer be reached.

        Args:
            frames: (V, H, W, 3) uint8 RGB.
            probes: indices of the frames to search.
        """
        tracks: list[Track] = []
        for i, k in _while_reachable(tracks, probes, needed):
            frame = cv2.cvtColor(frames[k], cv2.COLOR_RGB2GRAY)
            if not self._continue(tracks, frame, k) or i % self.full_search_every == 0:
                # Profile searches are slow, so only every third search looks for profiles.
                self._look_everywhere(tracks, frame, k, profiles=i % PROFILE_EVERY == 0)
        return tracks

    def _continue(self, tracks: list[Track], frame: Grey, k: int) -> bool:
        """Search around each known face; return whether any face was found."""
        for track in tracks:
            if track.lost:
                continue
            if track.seen is not None and unchanged(track.seen, frame, track.last):
                track.boxes[k] = track.last
                continue
            box = self.detector.near(frame, track.last)
            if box is None:
                track.lost = True
            else:
                track.boxes[k], track.seen = box, frame
        return any(not track.lost for track in tracks)

    def _look_everywhere(self, tracks: list[Track], frame: Grey, k: int, *, profiles: bool) -> None:
        """Search the whole frame; continue lost tracks and start new tracks."""
        boxes = self.detector.frontal_faces(frame)
        if profiles and not boxes and all(track.lost for track in tracks):
            boxes = self.detector.profile_faces(frame)
        for box in boxes[:MOST_TRACKS]:
            old = max(tracks, key=lambda track: overlap(track.last, box), default=None)
            if old is not None and overlap(old.last, box) >= SAME_FACE:
                if k not in old.boxes:
                    old.boxes[k], old.lost, old.seen = self._refined(frame, box), False, frame
            elif len(tracks) < 2 * MOST_TRACKS:
                tracks.append(Track(boxes={k: self._refined(frame, box)}, seen=frame))

    def _refined(self, frame: Grey, box: Box) -> Box:
        """The box as a search around it finds it, so that later searches give the same box."""
        return self.detector.near(frame, box) or box


class LinkedFollower:
    """Track faces with a detector that finds every face of a whole frame."""

    def __init__(self, faces_of: Callable[[ByteArray], list[Box]]) -> None:
        self.faces_of = faces_of

    def follow(self, frames: ByteArray, probes: list[int], needed: float) -> list[Track]:
        """Track the faces of one shot; arguments as in :meth:`LedFollower.follow`."""
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
    """Yield number and frame of each search, while ``needed`` hits can still be reached."""
    hits = 0
    for i, k in enumerate(probes):
        if hits + len(probes) - i < needed:
            return
        yield i, k
        hits += any(k in track.boxes for track in tracks)


def unchanged(before: Grey, now: Grey, box: Box) -> bool:
    """Return whether the pixels of a box did not change, so that the box is still valid.

    A new search would move the box by the grid of the cascade and so cause false motion.
    """
    left, top = max(0, int(box.x)), max(0, int(box.y))
    area = (slice(top, int(box.y + box.h)), slice(left, int(box.x + box.w)))
    return float(cv2.norm(before[area], now[area], cv2.NORM_L1)) < SAME_LEVEL * box.area
