"""The utterances of a split, read from an open pack.

Letters: N utterances, K hits, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from redub.core.columns import Array
from redub.core.types import MODALITIES
from redub.training.data.lines import SIDES, AdjacentUtterance, Hits, Utterance

if TYPE_CHECKING:  # pack.py imports this module
    from redub.training.data.pack import Pack

LOCAL_FACE = "local_face"
"""The frame-level feature of the face; only in packs for systems that read it."""

SOUND_FRAMES = "local_audio"
"""The frame-level feature of the audio; only in packs for systems that read it."""

GLOBAL_FEATURES = {"face": "global_face", "text": "global_text", "audio": "global_audio"}
"""The sentence-level context features; only in packs for systems that read them."""


def adjacent_utterance(known: Callable[[str], Array | None]) -> AdjacentUtterance:
    """Collect a clip's features as the context of an adjacent utterance.

    Args:
        known: a function of a feature's name; returns the clip's value or None.
    """
    words = known("phonemes")
    global_features = {name: known(feature) for name, feature in GLOBAL_FEATURES.items()}
    return AdjacentUtterance(
        phonemes=None if words is None else words[:, 0],
        lips=known("lips"),
        local_face=known(LOCAL_FACE),
        sound=known(SOUND_FRAMES),
        mel=known("mel"),
        f0_hz=known("f0"),
        energy=known("energy"),
        global_features={
            name: vector for name, vector in global_features.items() if vector is not None
        },
    )


class PackedLines(Sequence[Utterance]):
    """Utterances of a pack, built of views at each access and not kept."""

    def __init__(self, pack: Pack, rows: Any, *, context: bool = False) -> None:
        self.pack, self.context = pack, context
        self.rows = np.asarray(rows, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Utterance: ...
    @overload
    def __getitem__(self, place: slice) -> PackedLines: ...
    def __getitem__(self, place: int | slice) -> Utterance | PackedLines:
        if isinstance(place, slice):
            return PackedLines(self.pack, self.rows[place], context=self.context)
        return self._line(int(self.rows[place]))

    def take(self, places: Sequence[int]) -> PackedLines:
        """The utterances at these places, in this order, without building them."""
        return PackedLines(self.pack, self.rows[list(places)], context=self.context)

    def __iter__(self) -> Iterator[Utterance]:
        return (self._line(int(row)) for row in self.rows)

    @property
    def clip_ids(self) -> list[str]:
        """The clip ids, without building the utterances."""
        return [self.pack.links.clip_ids[row] for row in self.rows]

    @property
    def mel_frames(self) -> NDArray[np.int64]:
        """(N,) mel frames of every utterance, without building it."""
        frames: NDArray[np.int64] = self.pack.links.mel_frames[self.rows]
        return frames

    def _line(self, link: int) -> Utterance:
        links, columns = self.pack.links, self.pack.columns
        row = links.rows[link]
        aligned = there(columns["durations"].frames(row))
        vectors, hits = {}, {}
        for modality in MODALITIES:
            own = self.pack.vectors(modality).vector(row)
            if own is None:
                continue
            vectors[modality] = own
            found = links.hits[modality][link]
            if len(found):
                hits[modality] = self._hits(modality, link, found)
        return Utterance(
            clip_id=links.clip_ids[link],
            speaker=links.voices[link],
            phonemes=aligned[:, 0],
            mel_frames=int(links.mel_frames[link]),
            speaker_vector=there(links.speaker.vector(link)),
            reference_mels=[
                there(columns["mel"].frames(links.rows[n])) for n in links.reference_mels[link]
            ],
            lips=columns["lips"].frames(row),
            local_face=columns[LOCAL_FACE].frames(row) if LOCAL_FACE in columns else None,
            durations=aligned[:, 1],
            mel=there(columns["mel"].frames(row)),
            f0_hz=there(columns["f0"].frames(row))[:, 0],
            energy=there(columns["energy"].frames(row))[:, 0],
            sound=columns[SOUND_FRAMES].frames(row) if SOUND_FRAMES in columns else None,
            emotion=int(links.emotions[link]),
            vectors=vectors,
            hits=hits,
            context=self._context(link) if self.context else {},
        )

    def _context(self, link: int) -> dict[str, AdjacentUtterance]:
        found = {side: self.pack.adjacent(side, link) for side in SIDES}
        return {side: line for side, line in found.items() if line is not None}

    def _hits(self, modality: str, link: int, found: Array) -> Hits:
        links, column = self.pack.links, self.pack.vectors(modality)
        return Hits(
            vectors=_together([there(column.vector(links.rows[hit])) for hit in found]),
            audio=_together([there(links.audio.vector(hit)) for hit in found]),
            scores=links.scores[modality][link],
        )


def _together(rows: Sequence[Array]) -> Array:
    """Stack K vectors to (K, W); faster than ``np.stack`` for few short vectors."""
    stacked = np.empty((len(rows), len(rows[0])), rows[0].dtype)
    for place, row in enumerate(rows):
        stacked[place] = row
    return stacked


def there(value: Array | None) -> Array:
    """Assert that a value is not None; every packed utterance has this feature."""
    assert value is not None  # an utterance without it is left out of the pack
    return value
