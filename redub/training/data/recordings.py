"""Training data of a vocoder: segments of recordings, as mel frames and the samples below them.

Frame t of a mel is centred on the samples [t hop, (t + 1) hop), so a segment needs no context.
Letters: B batch, T mel frames, C mel channels, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redub.core.types import AudioSpec, FloatArray
from redub.model.vocoder.mel_spectrum import LOG_FLOOR

FULL_SCALE = 32768.0


@dataclass(frozen=True, slots=True)
class Recording:
    """One stored recording: (T, C) log-mel and (S,) int16 samples."""

    clip_id: str
    mel: FloatArray
    samples: NDArray[np.int16]

    def frames(self, audio: AudioSpec) -> int:
        """The number of frames with both mel and samples."""
        return min(len(self.mel), audio.frame_count(len(self.samples)))


class Pieces(NamedTuple):
    """A batch of segments of one length."""

    mel: Tensor  # (B, T, C)
    samples: Tensor  # (B, S) float32 in [-1, 1), S = T hops
    clip_ids: list[str]


def epoch_order(count: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """A permutation of the recordings that depends on seed and epoch alone."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def pieces(
    recordings: Sequence[Recording],
    places: Sequence[int],
    audio: AudioSpec,
    *,
    frames: int,
    seed: int,
    epoch: int,
) -> Pieces:
    """Cut a random segment out of each of some recordings; short ones are padded with silence.

    The start of a segment depends on (seed, epoch, place) alone, not on earlier random numbers, so
    a resumed run cuts at the same frame.

    Args:
        places: numbers of the recordings.
        frames: mel frames of a segment.
    """
    hop = audio.hop_samples
    mel = np.full((len(places), frames, audio.mel_channels), LOG_FLOOR, np.float32)
    samples = np.zeros((len(places), frames * hop), np.float32)
    for row, place in enumerate(places):
        line = recordings[place]
        available = line.frames(audio)
        random = np.random.default_rng((seed, epoch, int(place)))
        start = int(random.integers(max(1, available - frames + 1)))
        count = min(frames, available - start)
        mel[row, :count] = line.mel[start : start + count]
        sound = line.samples[start * hop : (start + count) * hop]
        samples[row, : count * hop] = sound / np.float32(FULL_SCALE)
    ids = [recordings[place].clip_id for place in places]
    return Pieces(torch.from_numpy(mel), torch.from_numpy(samples), ids)


def whole(line: Recording, audio: AudioSpec, *, most_frames: int) -> Pieces:
    """The first frames of one recording, at most ``most_frames``, as a batch of one."""
    frames = min(line.frames(audio), most_frames)
    sound = line.samples[: frames * audio.hop_samples] / np.float32(FULL_SCALE)
    mel = np.ascontiguousarray(line.mel[:frames], np.float32)
    return Pieces(
        torch.tensor(mel)[None], torch.tensor(sound, dtype=torch.float32)[None], [line.clip_id]
    )
