"""Voices of the library, and the one way in which an utterance takes references from its voice.

Packs, synthesis and dubbing all use :meth:`Voice.references`. Reads and writes nothing.

Letters: W width of a speaker vector.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from redub.core.types import Clip, FloatArray, Value


@dataclass(frozen=True, slots=True)
class References:
    """What an utterance takes from other utterances of its voice.

    ``voice``: a speaker or a clip id. ``clip_ids``: the utterances whose mels are the reference
    mels, at least one. ``speaker_vector``: (W,) float32, the mean over the other utterances.
    """

    voice: str
    clip_ids: tuple[str, ...]
    speaker_vector: FloatArray


class Voice:
    """The training clips of one voice that have a mel and a speaker vector.

    Args:
        name: a speaker, or a clip id for the voice of one clip.
        speaker_vectors: clip id to (W,).
    """

    def __init__(self, name: str, speaker_vectors: Mapping[str, Value]) -> None:
        self.name = name
        self.clip_ids = tuple(speaker_vectors)
        self._vectors = {i: np.asarray(v, dtype=np.float64) for i, v in speaker_vectors.items()}
        self._total = np.sum(list(self._vectors.values()), axis=0)

    def references(self, clip_id: str, most: int) -> References | None:
        """The references of a clip; None if the voice has no *other* clip.

        Args:
            clip_id: may be a clip that the voice does not have.
            most: number of reference mels, at most.
        """
        picked = pick_references(clip_id, self.clip_ids, most)
        if not picked:
            return None
        own = self._vectors.get(clip_id)
        total = self._total if own is None else self._total - own
        mean: FloatArray = (total / (len(self.clip_ids) - (own is not None))).astype(np.float32)
        return References(self.name, tuple(picked), mean)

    def of_clip(self, clip_id: str) -> Voice:
        """The voice as it sounds in one of its clips."""
        return Voice(clip_id, {clip_id: self._vectors[clip_id]})


def voice_name(clip: Clip) -> str:
    """The name of a clip's voice: its speaker, or its source where the speaker is unknown."""
    return clip.speaker or f"source {clip.source}"


def library_voices(
    clips: Iterable[Clip], with_mel: Container[str], speaker_vectors: Mapping[str, Value]
) -> dict[str, Voice]:
    """The voices of the training clips that have a mel and a speaker vector, by name.

    Args:
        with_mel: ids of the clips that have a mel.
        speaker_vectors: clip id to (W,), for the clips that have one.
    """
    members: dict[str, dict[str, Value]] = defaultdict(dict)
    for clip in clips:
        clip_id = clip.clip_id
        if clip.split == "train" and clip_id in with_mel and clip_id in speaker_vectors:
            members[voice_name(clip)][clip_id] = speaker_vectors[clip_id]
    return {name: Voice(name, vectors) for name, vectors in members.items()}


def pick_references(clip_id: str, members: Sequence[str], most: int) -> list[str]:
    """Pick at most ``most`` reference clips of a voice for a clip, never the clip itself.

    The choice is pseudo-random and depends on the clip ids alone.
    """
    prefix = hashlib.sha256(f"{clip_id}\0".encode())

    def rank(other: str) -> bytes:
        """Pseudo-random sort key of a candidate for this clip."""
        digest = prefix.copy()
        digest.update(other.encode())
        return digest.digest()

    return heapq.nsmallest(most, (other for other in members if other != clip_id), key=rank)
