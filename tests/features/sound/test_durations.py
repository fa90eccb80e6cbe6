import contextlib

import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.core.phonemes import SIL, id_of, symbol_of
from redub.core.types import AudioSpec
from redub.features.sound.durations import (
    DurationConfig,
    DurationExtractor,
    Span,
    TimedPhone,
    rows_of,
    rows_on_mel_clock,
)
from redub.features.text.phonemes import phoneme_ids
from tests.features.voices import AUDIO, VOWELS_HZ, hiss, media_of, silence, vowel

IY, UW = VOWELS_HZ["IY"], VOWELS_HZ["UW"]
SEE_SUE = np.concatenate(
    [
        *(silence(0.4), hiss(0.15), vowel(0.25, 120, IY), silence(0.5)),
        *(hiss(0.15, seed=2), vowel(0.25, 120, UW), silence(0.4)),
    ]
)
PLANTED = {"S": 40, "IY": 55, "sil": 80, "S again": 130, "UW": 145, "end": 170}  # mel frames


@pytest.fixture(scope="module")
def extractor():
    return DurationExtractor(DurationConfig(audio=AUDIO))


def line(samples, text):
    return media_of(samples, text=text, features={"phonemes": phoneme_ids(text)[:, None]})


def test_planted_sounds_are_found_within_40_ms(extractor):
    rows = extractor.extract(line(SEE_SUE, "See Sue!"))
    assert [symbol_of(int(p)) for p in rows[:, 0]] == ["sil", "S", "IY", "sil", "S", "UW", "sil"]
    borders = np.cumsum(rows[:, 1])[:-1]
    assert np.abs(borders - list(PLANTED.values())).max() <= 4


def test_rows_sum_to_the_mel_frames_whatever_the_length(extractor):
    for cut in (0, 1, 159, 200):
        sound = SEE_SUE[: len(SEE_SUE) - cut]
        rows = extractor.extract(line(sound, "see sue"))
        assert rows[:, 1].sum() == len(sound) // 160
        assert (rows[:, 1] > 0).all()


def test_rows_without_pauses_are_the_phonemes(extractor):
    rows = extractor.extract(line(SEE_SUE, "see sue"))
    assert rows[rows[:, 0] != SIL, 0].tolist() == phoneme_ids("see sue").tolist()


def test_padding_with_silence_moves_only_the_outer_pauses(extractor):
    plain = extractor.extract(line(SEE_SUE, "see sue"))
    padded = extractor.extract(
        line(np.concatenate([silence(0.3), SEE_SUE, silence(0.2)]), "see sue")
    )
    assert padded[0, 1] - plain[0, 1] == pytest.approx(30, abs=3)
    assert padded[-1, 1] - plain[-1, 1] == pytest.approx(20, abs=4)
    np.testing.assert_allclose(padded[1:-1, 1], plain[1:-1, 1], atol=6)


@pytest.mark.parametrize("room_noise", [0.0, 0.002, 0.01])
def test_a_clip_is_aligned_the_same_whatever_came_before(extractor, room_noise):
    # pocketsphinx tracks background noise from clip to clip unless its state is reset.
    noise = room_noise * np.random.default_rng(5).standard_normal(len(SEE_SUE))
    clip = line(SEE_SUE + noise, "see sue")
    alone = DurationExtractor(DurationConfig(audio=AUDIO)).extract(clip)
    loud = [hiss(0.5, 100.0, 0.9), vowel(0.5, 240, level=0.9), hiss(0.4, 100.0, 0.9)]
    with contextlib.suppress(FeatureAbsent):
        extractor.extract(line(np.concatenate(loud), "are you"))
    with contextlib.suppress(FeatureAbsent):  # a search that fails half-way must leave no trace
        extractor.extract(line(np.concatenate(loud), "kids are talking by the door " * 20))
    assert np.array_equal(extractor.extract(clip), alone)


def test_more_words_than_the_sound_has_room_for_are_refused(extractor):
    with pytest.raises(FeatureAbsent, match="check that the text") as refusal:
        extractor.extract(line(SEE_SUE, "kids are talking by the door " * 20))
    assert refusal.value.code == "E-ALIGN-FAILED"


def test_silence_cannot_be_aligned(extractor):
    with pytest.raises(FeatureAbsent) as refusal:
        extractor.extract(line(silence(1.0), "see"))
    assert refusal.value.code == "E-FEAT-SILENT"


def test_another_frame_clock_gets_the_same_borders():
    # 22.05 kHz by the cinema setting: 86.13 mel frames per second.
    cinema = AudioSpec(sample_rate_hz=22_050, n_fft=1024, hop_samples=256, win_samples=1024)
    samples = len(SEE_SUE) * 22_050 // 16_000
    at_22k = np.interp(np.arange(samples) / 22_050, np.arange(len(SEE_SUE)) / 16_000, SEE_SUE)
    text = "see sue"
    media = media_of(
        at_22k, text=text, rate=22_050, features={"phonemes": phoneme_ids(text)[:, None]}
    )
    rows = DurationExtractor(DurationConfig(audio=cinema)).extract(media)
    assert rows[:, 1].sum() == samples // 256
    borders_s = np.cumsum(rows[:, 1])[:-1] * 256 / 22_050
    assert np.abs(borders_s - np.array(list(PLANTED.values())) / 100).max() <= 0.05


def test_neighbouring_pauses_merge_and_borders_are_midway_between_windows():
    # Aligner windows are 25.6 ms, frames 10 ms: its border k lies at 10 k + 7.8 ms, so at mel
    # border k + 1; the last row takes the frames the aligner's window could not reach.
    spans = [Span("SIL", 0, 10), Span("+NSN+", 10, 5), Span("S", 15, 8), Span("SIL", 23, 7)]
    assert rows_of(spans, AUDIO, 33).tolist() == [[SIL, 16], [id_of("S"), 8], [SIL, 9]]


def test_timed_phones_are_rounded_to_the_mel_clock_and_gaps_are_pauses():
    # 100 mel frames per second: borders at 20, 35 and 50 (half to even: 50.5 → 50).
    s, iy = id_of("S"), id_of("IY")
    phones = [TimedPhone(s, 0.2, 0.35), TimedPhone(iy, 0.35, 0.505)]
    rows = [[SIL, 20], [s, 15], [iy, 15], [SIL, 10]]
    assert rows_on_mel_clock(phones, AUDIO, 60).tolist() == rows


def test_timed_phones_past_the_end_are_cut_and_overlaps_cost_the_later_one():
    s, iy = id_of("S"), id_of("IY")
    phones = [TimedPhone(s, 0.0, 0.4), TimedPhone(iy, 0.3, 0.9)]
    assert rows_on_mel_clock(phones, AUDIO, 60).tolist() == [[s, 40], [iy, 20]]
