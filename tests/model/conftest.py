"""A small system's widths and padded batches of random lines."""

from dataclasses import replace

import pytest
import torch

from redub.core.types import AudioSpec
from redub.model.batch import Context, DubbingBatch, FeatureWidths, Prosody
from redub.model.systems.authentic_dubber import TINY, AuthenticDubber

SOUND = AudioSpec(mel_channels=12)
WIDTHS = FeatureWidths(
    lips=5, speaker=6, scene=7, face=8, text=10, audio=9, phonemes=20, local_face=4, sound=SOUND,
    global_face=3, global_text=5, global_audio=4, local_audio=6,
)  # fmt: skip

SMALL = replace(
    TINY,
    width=16,
    filter_width=24,
    kernel=3,
    voice_channels=(8, 8, 8, 8),
    cross_width=8,
    cross_filter_width=12,
    lip_width=8,
    decoder_layers=2,
    postnet_channels=8,
)


@pytest.fixture
def widths():
    return WIDTHS


@pytest.fixture
def small():
    return SMALL


@pytest.fixture
def make_dubber():
    def build(config=SMALL, **changes):
        torch.manual_seed(0)
        return AuthenticDubber(replace(config, **changes), WIDTHS)

    return build


def rows(count, real, width, generator):
    """(B, L, width) random rows, 0 past each line's own length, and the mask."""
    valid = torch.arange(count) < torch.tensor(real).unsqueeze(1)
    values = torch.randn(len(real), count, width, generator=generator)
    return values * valid.unsqueeze(-1), valid


def adjacent(video_frames, phonemes, present, seed):
    """The lines beside those of a batch, as long as they are, of other values."""
    generator = torch.Generator().manual_seed(seed)
    there = torch.tensor(present)
    video_frames = [count * is_there for count, is_there in zip(video_frames, present, strict=True)]
    words = [count * is_there for count, is_there in zip(phonemes, present, strict=True)]
    frames = [4 * count for count in video_frames]
    lips, lips_valid = rows(max(1, *video_frames), video_frames, WIDTHS.lips, generator)
    face, face_valid = rows(max(4, *video_frames), video_frames, WIDTHS.local_face, generator)
    sound, sound_valid = rows(max(16, *frames), frames, WIDTHS.local_audio, generator)
    mel, mel_valid = rows(max(1, *frames), frames, WIDTHS.mel, generator)
    words_valid = torch.arange(max(1, *words)) < torch.tensor(words).unsqueeze(1)
    ids = torch.randint(1, WIDTHS.phonemes, words_valid.shape, generator=generator)
    signal = torch.randn(2, *mel_valid.shape, generator=generator) * mel_valid
    voiced = (signal[0] > 0) & mel_valid
    return Context(
        phonemes=ids * words_valid,
        phonemes_valid=words_valid,
        lips=lips,
        lips_valid=lips_valid,
        local_face=face,
        local_face_valid=face_valid,
        sound=sound,
        sound_valid=sound_valid,
        global_features=tuple(
            torch.randn(len(present), width, generator=generator) * there.unsqueeze(1)
            for width in WIDTHS.global_features
        ),
        global_valid=there.unsqueeze(1).expand(-1, 3),
        mel=mel,
        mel_valid=mel_valid,
        prosody=Prosody(signal[0] * voiced, voiced, signal[1]),
    )


@pytest.fixture
def make_batch():
    def build(
        video_frames=(6, 4),
        phonemes=(7, 5),
        reference_mel=(40, 33),
        hits=3,
        seed=1,
        before=None,
        after=None,
    ):
        """Lines of so many video frames (4 mel frames each), phonemes and reference frames.

        ``before`` and ``after``: video frames of the adjacent lines, 0 where there is none.
        """
        generator = torch.Generator().manual_seed(seed)
        lines, frames = len(video_frames), [4 * count for count in video_frames]
        lips, lips_valid = rows(max(video_frames), video_frames, WIDTHS.lips, generator)
        looks = torch.Generator().manual_seed(seed + 100)
        shown = max(4, *video_frames)
        local_face, local_face_valid = rows(shown, video_frames, WIDTHS.local_face, looks)
        reference, reference_valid = rows(max(reference_mel), reference_mel, WIDTHS.mel, generator)
        mel, frames_valid = rows(max(frames), frames, WIDTHS.mel, generator)
        phonemes_valid = torch.arange(max(phonemes)) < torch.tensor(phonemes).unsqueeze(1)
        ids = torch.randint(1, WIDTHS.phonemes, phonemes_valid.shape, generator=generator)
        durations = torch.zeros_like(ids)
        for row, (count, total) in enumerate(zip(phonemes, frames, strict=True)):
            durations[row, :count] = total // count
            durations[row, 0] += total % count
        voiced = (torch.rand(frames_valid.shape, generator=generator) > 0.4) & frames_valid
        signal = torch.randn(2, *frames_valid.shape, generator=generator) * frames_valid

        def normal(*shape):
            return torch.randn(*shape, generator=generator)

        return DubbingBatch(
            clip_ids=tuple(f"clip{row}" for row in range(lines)),
            phonemes=ids * phonemes_valid,
            phonemes_valid=phonemes_valid,
            mel_frames=torch.tensor(frames),
            frames_valid=frames_valid,
            lips=lips,
            lips_valid=lips_valid,
            local_face=local_face,
            local_face_valid=local_face_valid,
            speaker=normal(lines, WIDTHS.speaker),
            reference_mel=reference,
            reference_valid=reference_valid,
            modalities=tuple(normal(lines, width) for width in WIDTHS.modalities),
            modalities_valid=torch.ones(lines, 3, dtype=torch.bool),
            hits=tuple(normal(lines, hits, width) for width in WIDTHS.modalities),
            hits_audio=normal(lines, 3, hits, WIDTHS.audio),
            hits_score=torch.rand(lines, 3, hits, generator=generator),
            hits_valid=torch.ones(lines, 3, hits, dtype=torch.bool),
            emotions=torch.arange(lines) % WIDTHS.emotions,
            durations=durations,
            mel=mel,
            prosody=Prosody(signal[0] * voiced, voiced, signal[1]),
            previous=beside(before or [5] * lines, seed + 200),
            following=beside(after or [3] * lines, seed + 300),
        )

    def beside(video_frames, seed):
        return adjacent(
            video_frames, [n + 2 for n in video_frames], [n > 0 for n in video_frames], seed
        )

    return build
