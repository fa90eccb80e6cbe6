"""The mel that is known before training: what is summed, against loops over frames."""

import numpy as np
import pytest
import torch

from redub.core.types import AudioSpec
from redub.model.batch import FeatureWidths, Prosody
from redub.model.blocks.mel_base import VOICE_NUMBERS, MelBase

WIDTHS = FeatureWidths(
    sound=AudioSpec(mel_channels=6), lips=1, speaker=4, scene=1, face=1, text=1, audio=1, phonemes=9
)


@pytest.fixture
def base():
    random = torch.Generator().manual_seed(0)
    made = MelBase(WIDTHS, positions=3)
    for buffer in (made.table, made.voice_mean, made.voice_axes):
        buffer.copy_(torch.randn(buffer.shape, generator=random))
    return made


def summed(base, ids, durations, speaker):
    """The same sum, one frame at a time, from the order of rows in words: see MelBase.rows."""
    table, count, places = base.table.numpy(), 9, 9 * 3
    numbers = np.clip((speaker - base.voice_mean.numpy()) @ base.voice_axes.numpy(), -3, 3)
    voice = [1.0, *numbers]
    frames = []
    for p, (phoneme, length) in enumerate(zip(ids, durations, strict=True)):
        before = ids[p - 1] if p else 0
        after = ids[p + 1] if p + 1 < len(ids) else 0
        for frame in range(length):
            at = min(max((frame + 0.5) / length * 3 - 0.5, 0.0), 2.0)
            low = int(at)
            inside = [(low, 1 - (at - low)), (min(low + 1, 2), at - low)]
            mel = np.zeros(6)
            for z, amount in enumerate(voice):
                block = z * (1 + count + places)
                mel += amount * (table[block] + table[block + 1 + phoneme])
                for place, share in inside:
                    mel += amount * share * table[block + 1 + count + 3 * phoneme + place]
            around = len(voice) * (1 + count + places)
            for place, share in inside:
                mel += share * table[around + 3 * before + place]
                mel += share * table[around + places + 3 * after + place]
            frames.append(mel)
    return np.array(frames)


def test_every_frame_is_the_sum_of_its_rows(base):
    ids = np.array([[3, 1, 7, 2], [5, 8, 0, 0]])
    durations = np.array([[2, 0, 5, 1], [1, 3, 0, 0]])
    speakers = np.random.default_rng(1).normal(0, 2, (2, 4)).astype(np.float32)
    given = [torch.from_numpy(values) for values in (ids, durations, speakers)]
    guessed = base(*given, 10).numpy()
    for row, (length, spoken) in enumerate(((4, 8), (2, 4))):
        wanted = summed(base, ids[row, :length], durations[row, :length], speakers[row])
        np.testing.assert_allclose(guessed[row, :spoken], wanted, rtol=1e-4, atol=1e-4)
        assert not guessed[row, spoken:].any()


def test_a_channel_moves_with_its_signals_by_the_numbers_of_its_phoneme(base):
    base.by_signal.copy_(torch.randn(base.by_signal.shape))
    random = np.random.default_rng(2)
    ids, durations = torch.tensor([[3, 1, 7]]), torch.tensor([[2, 1, 3]])
    pitch, energy = (torch.from_numpy(random.normal(size=(1, 8)).astype("f")) for _ in range(2))
    voiced = torch.tensor([[True, False, True, True, False, False, True, True]])
    harmonic_row = torch.from_numpy(random.normal(size=(1, 8, 6)).astype("f"))
    plain = base(ids, durations, torch.zeros(1, 4), 8)
    moved = base(ids, durations, torch.zeros(1, 4), 8, Prosody(pitch, voiced, energy), harmonic_row)
    for frame, phoneme in enumerate((3, 3, 1, 7, 7, 7)):
        own = base.by_signal[phoneme]
        added = own[0] * energy[0, frame] + own[1] * float(voiced[0, frame])
        added = added + own[2] * pitch[0, frame] + own[3] * harmonic_row[0, frame]
        torch.testing.assert_close(moved[0, frame], plain[0, frame] + added)
    assert not moved[0, 6:].any()


def test_the_table_has_a_row_for_every_term(base):
    assert len(base.table) == (1 + VOICE_NUMBERS) * (1 + 9 + 27) + 2 * 27


def test_a_voice_far_from_the_training_voices_is_guessed_from_their_border(base):
    far = 1e4 * base.voice_axes[:, 0]
    assert base.voice(far[None]).abs().max() <= 3.0
