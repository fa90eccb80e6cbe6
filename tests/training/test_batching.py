import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import ConfigError
from redub.training.data.batching import (
    BatchingConfig,
    collate,
    epoch_batches,
    plain_batches,
    widths_of,
)
from redub.training.data.lines import FeatureScaler

CONFIG = BatchingConfig(
    frames_per_batch=100, lines_per_batch=4, bucket_batches=2, reference_frames=16
)


@given(st.lists(st.integers(1, 150), min_size=1, max_size=60), st.integers(0, 5))
def test_every_line_is_in_one_batch_and_no_batch_is_over_budget(frames, epoch):
    for batches in (
        epoch_batches(frames, CONFIG, seed=1, epoch=epoch),
        plain_batches(frames, CONFIG),
    ):
        assert sorted(number for batch in batches for number in batch) == list(range(len(frames)))
        for batch in batches:
            longest = max(frames[number] for number in batch)
            assert len(batch) <= 4
            assert len(batch) == 1 or longest * len(batch) <= 100


def test_the_order_follows_from_seed_and_epoch():
    frames = [10 + number % 7 for number in range(40)]
    order = epoch_batches(frames, CONFIG, seed=1, epoch=0)
    assert order == epoch_batches(frames, CONFIG, seed=1, epoch=0)
    assert order != epoch_batches(frames, CONFIG, seed=1, epoch=1)
    assert order != epoch_batches(frames, CONFIG, seed=2, epoch=0)


def test_lines_of_like_length_go_together():
    frames = [10, 90] * 20
    mixed = [
        batch
        for batch in epoch_batches(frames, CONFIG, seed=0, epoch=0)
        if len({frames[number] for number in batch}) > 1
    ]
    assert mixed == []  # pools of 8 hold both, but 90 + anything is over the budget of 100


def collated(lines, sound, **settings):
    settings = {"reference_frames": 16, **settings}
    return collate(lines, FeatureScaler.fit(lines), widths_of(lines, sound), **settings)


def test_masks_say_what_is_real(make_line, sound):
    batch = collated(
        [
            make_line(0, video_frames=3, phoneme_count=2),
            make_line(1, video_frames=5, phoneme_count=4, lips=None, hit_count=0),
        ],
        sound,
    )
    assert batch.mel_frames.tolist() == [12, 20]
    assert batch.frames_valid.sum(1).tolist() == [12, 20]
    assert batch.phonemes_valid.sum(1).tolist() == [2, 4]
    assert batch.lips_valid.sum(1).tolist() == [3, 0]
    assert batch.hits_valid.sum((1, 2)).tolist() == [6, 0]
    assert batch.durations.sum(1).tolist() == [12, 20]
    assert batch.prosody.voiced[0, 12:].sum() == 0


def test_absent_modalities_and_hits_are_masked_not_invented(make_line, sound):
    full = make_line(0)
    partial = make_line(
        1,
        vectors={"text": full.vectors["text"]},
        hits={"text": full.hits["text"]},
        emotion=-1,
    )
    batch = collated([full, partial], sound)
    assert batch.modalities_valid.tolist() == [[True, True, True], [False, False, True]]
    assert batch.hits_valid[1].any(-1).tolist() == [False, False, True]
    assert batch.emotions.tolist()[1] == -1


def test_hits_are_on_the_scale_of_their_modality(make_line, sound):
    lines = [make_line(number) for number in range(4)]
    scaler = FeatureScaler.fit(lines)
    batch = collated(lines, sound)
    expected = scaler.apply("face", lines[2].hits["face"].vectors)
    np.testing.assert_allclose(batch.hits[1][2].numpy(), expected)
    sound_of_hits = scaler.apply("audio", lines[2].hits["face"].audio)
    np.testing.assert_allclose(batch.hits_audio[2, 1].numpy(), sound_of_hits)


def test_a_line_beside_one_without_a_recording_is_not_trained_on(make_line, sound):
    unspoken = make_line(1, mel=None, durations=None, f0_hz=None, energy=None)
    batch = collated([make_line(0), unspoken], sound)
    assert (batch.mel, batch.durations, batch.prosody) == (None, None, None)
    assert not unspoken.is_recorded


def test_a_short_reference_is_looped_and_epochs_take_turns(make_line, sound):
    ramp = np.arange(10, dtype=np.float32)[:, None].repeat(12, 1)
    line = make_line(0, reference_mels=[ramp, ramp + 100])
    scaler = FeatureScaler({})  # no scale: values stay as they are
    widths = widths_of([line], sound)
    taken = [
        collate([line], scaler, widths, reference_frames=16, epoch=epoch)
        .reference_mel[0, :, 0]
        .tolist()
        for epoch in range(3)
    ]
    assert taken[0] == [*range(10), *range(6)]
    assert taken[1][:10] == [100.0 + step for step in range(10)]
    assert taken[2] == taken[0]


def test_a_long_reference_is_cut_at_places_that_cover_it(make_line, sound):
    ramp = np.arange(200, dtype=np.float32)[:, None].repeat(12, 1)
    line = make_line(0, reference_mels=[ramp])
    widths = widths_of([line], sound)
    starts = []
    for epoch in range(12):
        taken = collate(
            [line], FeatureScaler({}), widths, reference_frames=50, epoch=epoch
        ).reference_mel
        assert taken.shape == (1, 50, 12)
        starts.append(taken[0, 0, 0].item())
    assert np.diff(sorted(starts)).max() < 50  # every part of the recording is used
    assert max(starts) <= 150


def test_widths_are_those_of_the_features_and_1_where_there_is_none(make_line, sound):
    widths = widths_of([make_line(0, lips=None, vectors={}, hits={}), make_line(1)], sound)
    assert (widths.lips, widths.speaker, widths.mel, widths.audio) == (5, 3, 12, 7)
    assert widths.modalities == (4, 5, 6)
    assert widths_of([make_line(0, lips=None, vectors={}, hits={})], sound).modalities == (1, 1, 1)


def test_a_batch_moves_as_one(make_line, sound):
    batch = collated([make_line(0)], sound).to("meta")
    tensors = [batch.phonemes, batch.hits[0], batch.prosody.pitch, batch.mel]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert batch.clip_ids == ("clip0",)
    assert batch.without_recording().mel is None
    assert isinstance(batch.modalities, tuple)
    assert batch.mel.dtype == torch.float32


@pytest.mark.parametrize("bad", [{"frames_per_batch": 0}, {"reference_frames": 15}])
def test_a_budget_that_holds_nothing_is_refused(bad):
    with pytest.raises(ConfigError):
        BatchingConfig(**bad)
