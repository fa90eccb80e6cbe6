"""One recording in two clips: found when worsened, never confused with another reading."""

import io

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import ConfigError
from redub.core.types import AudioSpec, Waveform
from redub.features.sound.mel import LOG_FLOOR, log_mel
from redub.footage.demo_film import prosody as manner
from redub.footage.demo_film.cast import CAST
from redub.footage.demo_film.lexicon import phones_of
from redub.footage.demo_film.timing import schedule
from redub.footage.demo_film.voice import synthesise
from redub.index import near_duplicates
from redub.index.near_duplicates import Fingerprint, compare, find_duplicates, fingerprint

AUDIO = AudioSpec()
RATE = AUDIO.sample_rate_hz
LINES = (
    "the captain moved a letter in the garden",
    "my brother will open the window tomorrow",
    "we found the brown lantern by the road",
    "your sister lost the key in the office",
    "the baker is behind the boat with a box",
    "do not open the heavy bottle at noon",
)
MOODS = ("happy", "sad", "angry", "fear", "neutral", "surprise")


def spoken(text, actor, emotion, seed, noise=1.0):
    """(S,) samples of a line by a voice of the demo film, with a room's faint noise."""
    rng = np.random.default_rng([seed, *text.encode()])
    played = manner.noisy(manner.MANNERS[emotion], rng, noise=noise)
    segments = schedule(
        phones_of(text), rate=actor.voice.tempo * 2**played.rate, evenness=played.evenness
    )
    f0_hz = manner.pitch_curve(segments, played, actor.voice, rng)
    sound = synthesise(segments, f0_hz, actor.voice, manner.style_of(played), rng).samples
    return sound + 2e-4 * rng.standard_normal(len(sound))


def print_of(samples):
    wave = Waveform(np.clip(samples, -1, 1).astype(np.float32), RATE)
    return fingerprint(log_mel(wave, AUDIO), AUDIO)


def encoded_again(samples, bit_rate):
    """Through AAC and back, with the encoder's delay still in it."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=RATE, layout="mono")
        stream.bit_rate = bit_rate
        sound = samples[None].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            output.mux(packet)
    file.seek(0)
    with av.open(file) as media:
        return np.concatenate([f.to_ndarray().mean(axis=0) for f in media.decode(audio=0)])


def noised(samples, snr_db, seed=0):
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    return samples + noise * np.sqrt((samples**2).mean() / 10 ** (snr_db / 10))


def trimmed(samples, start_s, end_s):
    """37 samples more than asked for: a copy is not cut on this project's frame grid."""
    return samples[round(start_s * RATE) + 37 : len(samples) - round(end_s * RATE)]


CHANGES = {
    "softer by 12 dB": lambda x: 0.25 * x,
    "louder by 6 dB": lambda x: 2.0 * x,
    "half a second less at the start": lambda x: trimmed(x, 0.5, 0),
    "half a second less at the end": lambda x: trimmed(x, 0, 0.5),
    "a quarter less at both ends": lambda x: trimmed(x, 0.25, 0.25),
    "AAC at 64 kb/s": lambda x: encoded_again(x, 64_000),
    "AAC at 24 kb/s": lambda x: encoded_again(x, 24_000),
    "noise 20 dB below": lambda x: noised(x, 20),
    "all at once": lambda x: noised(encoded_again(0.4 * trimmed(x, 0.3, 0.1), 64_000), 20),
}


@pytest.fixture(scope="module")
def takes():
    """Six lines, each by another voice in another mood."""
    return [
        spoken(text, actor, mood, seed)
        for seed, (text, actor, mood) in enumerate(zip(LINES, CAST, MOODS, strict=True))
    ]


@pytest.fixture(scope="module")
def prints(takes):
    return [print_of(take) for take in takes]


def anywhere(one, other):
    """The lowest distance at any alignment."""
    return compare(one, other, range(-len(one), len(other) + 1, 5))


@pytest.mark.parametrize("change", CHANGES)
def test_a_worsened_copy_is_found_and_nothing_else(takes, prints, change):
    copies = [print_of(CHANGES[change](take)) for take in takes]
    found = find_duplicates([*prints, *copies])
    assert [(pair.first, pair.second) for pair in found] == [(n, n + 6) for n in range(6)]
    assert max(pair.distance for pair in found) < 0.04


def test_a_copy_says_where_it_lies_and_for_how_long(takes, prints):
    copy = print_of(takes[0][round(0.32 * RATE) :])
    [pair] = find_duplicates([copy, *prints])
    assert (pair.first, pair.second) == (0, 1)
    assert pair.offset_s == pytest.approx(0.32)
    assert pair.common_s == pytest.approx(len(copy) * 0.01)
    assert pair.distance < 0.001


@pytest.mark.parametrize("seconds", [0.7, 1.0])
def test_short_clips_are_found_too(takes, prints, seconds):
    # From inside the line, half as loud, re-encoded.
    start = round(0.4 * RATE)
    parts = [take[start : start + round(seconds * RATE)] for take in takes]
    copies = [print_of(encoded_again(0.5 * part[641:], 64_000)) for part in parts]
    found = find_duplicates([*map(print_of, parts), *copies])
    assert [(pair.first, pair.second) for pair in found] == [(n, n + 6) for n in range(6)]


def test_the_same_line_by_the_same_voice_in_another_mood_is_another_recording(prints):
    others = [
        print_of(spoken(text, actor, mood, seed))
        for text, actor, own in zip(LINES, CAST, MOODS, strict=True)
        for seed, mood in enumerate(MOODS)
        if mood != own
    ]
    assert find_duplicates([*prints, *others]) == []
    lowest = min(
        anywhere(prints[n], other).distance for n in range(6) for other in others[5 * n :][:5]
    )
    assert lowest > 2 * near_duplicates.SAME_BELOW


def test_the_same_line_said_again_in_the_same_mood_is_another_recording(prints):
    again = [
        print_of(spoken(text, actor, mood, 100 + seed))
        for seed, (text, actor, mood) in enumerate(zip(LINES, CAST, MOODS, strict=True))
    ]
    assert find_duplicates([*prints, *again]) == []
    for one, other in zip(prints, again, strict=True):
        assert anywhere(one, other).distance > near_duplicates.SAME_BELOW


def test_the_same_line_by_another_voice_is_another_recording(prints):
    others = [
        print_of(spoken(text, actor, mood, seed, noise=0.0))
        for seed, (text, actor, mood) in enumerate(
            zip(LINES, (*CAST[1:], CAST[0]), MOODS, strict=True)
        )
    ]
    assert find_duplicates([*prints, *others]) == []


def test_only_pairs_that_may_pair_are_compared(prints, monkeypatch):
    compared = []

    def noted(one, other, offsets):
        compared.append((one, other))
        return compare(one, other, offsets)

    monkeypatch.setattr(near_duplicates, "compare", noted)
    twice = [*prints, *prints]
    found = find_duplicates(twice, may_pair=lambda one, other: (one == 2) | (other == 3))
    assert [(pair.first, pair.second) for pair in found] == [(2, 8)]
    assert all(one is prints[2] or other is prints[3] for one, other in compared)


def test_clips_without_a_common_word_are_never_compared(prints, monkeypatch):
    # 6 clips and 6 different ones: 66 pairs; words propose almost none of them.
    parts = [print_of(take_part(own)) for own in range(6)]
    calls = []
    monkeypatch.setattr(near_duplicates, "compare", lambda *pair: calls.append(pair))
    assert find_duplicates([*prints, *parts]) == []
    assert len(calls) <= 6


def take_part(number):
    return spoken(LINES[number], CAST[(number + 3) % 6], MOODS[(number + 2) % 6], 7)


def test_one_recording_in_forty_clips_reaches_every_one_of_them(takes):
    copies = [print_of(noised(takes[1], 30, seed)) for seed in range(40)]
    found = find_duplicates(copies)
    assert {number for pair in found for number in pair[:2]} == set(range(40))
    assert len(found) > 0.9 * 40 * 39 / 2


def test_no_clips_silence_and_short_clips_have_no_duplicates():
    silence = fingerprint(np.full((300, 80), LOG_FLOOR, dtype=np.float32), AUDIO)
    short = fingerprint(np.zeros((7, 80), dtype=np.float32), AUDIO)
    empty = fingerprint(np.zeros((0, 80), dtype=np.float32), AUDIO)
    assert len(short) == len(empty) == 0
    assert not silence.sure.any()
    assert find_duplicates([]) == []
    assert find_duplicates([silence, silence, short, short, empty, empty]) == []


def test_too_few_mel_channels_are_refused():
    with pytest.raises(ConfigError, match="66 mel channels, found 40"):
        fingerprint(np.zeros((50, 40), dtype=np.float32), AUDIO)


@given(st.floats(-6, 6), st.integers(0, 5))
def test_loudness_changes_no_sure_sign(gain, seed):
    mel = np.random.default_rng(seed).normal(-4, 1.5, (60, 80))
    plain = fingerprint(mel.astype(np.float64), AUDIO)
    louder = fingerprint(mel + gain, AUDIO)
    np.testing.assert_array_equal(plain.sure, louder.sure)
    np.testing.assert_array_equal(plain.signs & plain.sure, louder.signs & louder.sure)


@given(st.integers(0, 2**32), st.integers(45, 70), st.integers(45, 70), st.integers(-9, 9))
def test_a_distance_is_a_plain_count_of_signs(seed, one_frames, other_frames, offset):
    rng = np.random.default_rng(seed)

    def drawn(frames):
        none = np.zeros(0, dtype=np.uint32)
        signs = rng.integers(0, 2**32, frames, dtype=np.uint32)
        sure = rng.integers(0, 2**32, frames, dtype=np.uint32)
        return Fingerprint(0.01, signs, sure, none, none.astype(np.int32))

    one, other = drawn(one_frames), drawn(other_frames)
    shares = []
    for o in range(offset - near_duplicates.AROUND, offset + near_duplicates.AROUND + 1):
        compared = wrong = common = 0
        for frame in range(one_frames):
            if 0 <= frame + o < other_frames:
                common += 1
                for bit in range(32):
                    if one.sure[frame] >> bit & 1 and other.sure[frame + o] >> bit & 1:
                        compared += 1
                        wrong += (one.signs[frame] ^ other.signs[frame + o]) >> bit & 1
        if common >= 40 and compared >= 300:
            shares.append(float(wrong) / compared)
    found = compare(one, other, [offset])
    if not shares:
        assert found is None
    else:
        assert found.distance == pytest.approx(min(shares))
