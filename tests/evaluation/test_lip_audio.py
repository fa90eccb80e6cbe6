import numpy as np
import pytest

from redub.core.errors import ClipError, ConfigError
from redub.evaluation.lip_audio import MAX_SHIFT, LipAudioMeter

CHANNELS = 12


def speech(rng, video_frames):
    """A made-up mel: loudness wanders, channels share it with their own weight."""
    frames = video_frames * 4
    steps = rng.standard_normal(frames + 40)
    loudness = np.convolve(steps, np.hanning(20), "same")[20 : frames + 20]
    tilt = np.linspace(1.0, 0.2, CHANNELS)
    noise = 0.1 * rng.standard_normal((frames, CHANNELS))
    return (loudness[:, None] * tilt + noise - 5).astype(np.float32), loudness


def mouth_of(loudness, rng, *, late=0):
    """Draw a mouth that opens with the loudness ``late`` frames ago, in a random grey face."""
    opening = loudness.reshape(-1, 4).mean(axis=1)
    opening = opening[np.clip(np.arange(len(opening)) - late, 0, len(opening) - 1)]
    rows = np.abs(np.arange(96) - 48)[None, :, None]
    height = (12 + 4 * opening)[:, None, None]
    dark = np.clip(height - rows, 0, 1) * (np.abs(np.arange(96) - 48) < 25)
    skin = rng.uniform(120, 200)
    return (
        (skin * (1 - 0.8 * dark) + rng.uniform(0, 6, dark.shape)).astype(np.uint8).reshape(-1, 9216)
    )


def corpus(count, seed, video_frames=60, late=0):
    rng = np.random.default_rng(seed)
    mels, mouths = [], []
    for _ in range(count):
        mel, loudness = speech(rng, video_frames)
        mels.append(mel)
        mouths.append(mouth_of(loudness, rng, late=late))
    return mels, mouths


@pytest.fixture(scope="module")
def meter():
    return LipAudioMeter.fit(*corpus(20, seed=1))


@pytest.mark.parametrize("shift", [-7, -1, 0, 3, 12])
def test_a_planted_shift_is_found(meter, shift):
    # A mouth drawn `late` frames after its sound means that the sound is early by as many.
    mels, mouths = corpus(6, seed=2, late=-shift)
    found = [meter.measure(mel, mouth) for mel, mouth in zip(mels, mouths, strict=True)]
    assert [f.offset_frames for f in found] == [shift] * 6
    assert found[0].offset_ms == pytest.approx(shift * 40.0)


def test_delaying_the_sound_moves_the_offset_by_as_much(meter):
    mels, mouths = corpus(1, seed=3, video_frames=80)
    delayed = np.concatenate([np.repeat(mels[0][:1], 5 * 4, axis=0), mels[0][: -5 * 4]])
    before, after = meter.measure(mels[0], mouths[0]), meter.measure(delayed, mouths[0])
    assert after.offset_frames - before.offset_frames == 5


def test_the_right_sound_is_trusted_more_than_another_lines(meter):
    mels, mouths = corpus(8, seed=4)
    right = [meter.measure(a, b) for a, b in zip(mels, mouths, strict=True)]
    wrong = [meter.measure(a, b) for a, b in zip(mels[1:] + mels[:1], mouths, strict=True)]
    assert min(r.confidence for r in right) > max(w.confidence for w in wrong)
    assert max(r.distance for r in right) < min(w.distance for w in wrong)


def test_the_reported_numbers_are_those_of_the_curve(meter):
    mels, mouths = corpus(1, seed=5)
    found = meter.measure(mels[0], mouths[0])
    assert len(found.curve) == 2 * MAX_SHIFT + 1
    assert found.distance == min(found.curve) == found.curve[found.offset_frames + MAX_SHIFT]
    assert found.confidence == pytest.approx(np.median(found.curve) - min(found.curve))


def test_a_mouth_that_never_moves_has_no_offset_and_no_confidence_to_speak_of(meter):
    mels, mouths = corpus(1, seed=6)
    still = np.repeat(mouths[0][:1], 60, axis=0)
    alive, dead = meter.measure(mels[0], mouths[0]), meter.measure(mels[0], still)
    assert dead.confidence < 0.2 * alive.confidence


def test_a_sound_that_never_changes_says_no_shift(meter):
    _, mouths = corpus(1, seed=7)
    found = meter.measure(np.full((240, CHANNELS), -5, np.float32), mouths[0])
    assert found.offset_frames == 0
    assert found.confidence == pytest.approx(0.0, abs=1e-9)


def test_light_and_contrast_of_the_face_do_not_move_the_offset(meter):
    mels, mouths = corpus(1, seed=8)
    darker = (mouths[0] // 2).astype(np.uint8)
    brighter = (mouths[0] // 2 + 100).astype(np.uint8)
    assert (
        meter.measure(mels[0], darker).offset_frames
        == meter.measure(mels[0], brighter).offset_frames
        == 0
    )
    # An added constant changes nothing at all: only movement is looked at.
    assert meter.measure(mels[0], darker).curve == pytest.approx(
        meter.measure(mels[0], brighter).curve
    )


def test_a_sound_of_another_length_keeps_its_own_pace(meter):
    mels, mouths = corpus(1, seed=9)
    longer = np.concatenate([mels[0], np.zeros((120, CHANNELS), np.float32)])
    assert meter.measure(longer, mouths[0]).offset_frames == 0
    assert meter.measure(mels[0][:200], mouths[0]).offset_frames == 0


def test_the_order_of_clips_within_the_fit_changes_nothing_but_rounding():
    mels, mouths = corpus(5, seed=10)  # the last clip is the one held out
    order = [2, 0, 3, 1, 4]
    one = LipAudioMeter.fit(mels, mouths)
    other = LipAudioMeter.fit([mels[i] for i in order], [mouths[i] for i in order])
    assert one.measure(mels[0], mouths[0]).curve == pytest.approx(
        other.measure(mels[0], mouths[0]).curve, rel=1e-6
    )


def test_too_short_a_clip_is_refused_and_sixteen_pictures_are_enough(meter):
    mels, mouths = corpus(1, seed=11)
    assert len(meter.measure(mels[0][:64], mouths[0][:16]).curve) == 31
    with pytest.raises(ClipError, match="15 video frames"):
        meter.measure(mels[0][:60], mouths[0][:15])
    with pytest.raises(ClipError, match="0 mel frames"):
        meter.measure(mels[0][:0], mouths[0])


def test_unusable_training_sets_are_refused():
    mels, mouths = corpus(2, seed=12, video_frames=20)
    with pytest.raises(ConfigError, match="at least two"):
        LipAudioMeter.fit(mels[:1], mouths[:1])
    with pytest.raises(ConfigError, match="whole number"):
        LipAudioMeter.fit([mels[0], mels[1][:-1]], mouths)
    with pytest.raises(ConfigError, match="never move"):
        LipAudioMeter.fit(mels, [np.zeros_like(m) for m in mouths])


def test_the_ridge_is_the_textbook_one():
    # Oracle: the normal equations of the moments against a direct least-squares solution of the
    # augmented system [X; sqrt(n s) I] W = [Y; 0].
    from redub.evaluation.lip_audio import _Sums

    rng = np.random.default_rng(0)
    inputs, targets = rng.standard_normal((50, 4)) + 3, rng.standard_normal((50, 2))
    targets -= targets.mean(axis=0)
    sums = _Sums()
    sums.add(inputs[:20], targets[:20])
    sums.add(inputs[20:], targets[20:])
    weights, mean = sums.solve(0.1)
    centred = inputs - inputs.mean(axis=0)
    strength = 0.1 * centred.var(axis=0).mean() * 50
    augmented = np.vstack([centred, np.sqrt(strength) * np.eye(4)])
    expected, *_ = np.linalg.lstsq(augmented, np.vstack([targets, np.zeros((4, 2))]), rcond=None)
    np.testing.assert_allclose(weights, expected, atol=1e-10)
    np.testing.assert_allclose(mean, inputs.mean(axis=0))
    assert sums.error(weights, mean) == pytest.approx(((centred @ weights - targets) ** 2).sum())
