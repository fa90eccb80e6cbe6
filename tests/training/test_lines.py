import numpy as np
import pytest

from redub.core.errors import ClipError
from redub.training.data.lines import FeatureScaler, f0_of, pitch_of, with_silence

SIL = 87


def test_silence_is_put_around_a_line_but_never_twice():
    assert with_silence(np.array([5, 6]), silence=SIL).tolist() == [SIL, 5, 6, SIL]
    assert with_silence(np.array([SIL, 5]), silence=SIL).tolist() == [SIL, 5, SIL]
    assert with_silence(np.array([SIL, 5, SIL]), silence=SIL).tolist() == [SIL, 5, SIL]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"mel": np.zeros((15, 12), np.float32)}, "mel has 15 frames, the video has 16"),
        ({"energy": np.zeros(17, np.float32)}, "energy has 17 frames"),
        ({"durations": np.array([4, 4, 4, 4, 1])}, "5 durations sum to 17"),
        ({"durations": np.array([8, 8])}, "2 durations"),
        ({"phonemes": np.array([], np.int64), "durations": None}, "0 phonemes"),
        ({"reference_mels": []}, "0 reference mels"),
    ],
)
def test_a_line_that_does_not_fit_its_video_is_named(make_line, changes, found):
    with pytest.raises(ClipError, match=found) as raised:
        make_line(3, **changes)
    assert "clip3" in raised.value.message


def test_pitch_is_octaves_from_160_hz():
    octaves, voiced = pitch_of(np.array([320.0, 0.0, 160.0, 80.0], np.float32))
    assert octaves.tolist() == [1.0, 0.0, 0.0, -1.0]
    assert voiced.tolist() == [True, False, True, True]
    assert f0_of(octaves, voiced).tolist() == [320.0, 0.0, 160.0, 80.0]


def test_scaled_training_features_have_mean_0_and_deviation_1(lines):
    scaler = FeatureScaler.fit(lines)
    features = {
        "lips": np.concatenate([line.lips for line in lines]),
        "mel": np.concatenate([line.mel for line in lines]),
        "scene": np.stack([line.vectors["scene"] for line in lines]),
        "audio": np.concatenate([hits.audio for line in lines for hits in line.hits.values()]),
    }
    for name, values in features.items():
        scaled = scaler.apply(name, values)
        np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(scaled.std(0), 1, atol=1e-3)
        np.testing.assert_allclose(scaler.undo(name, scaled), values, atol=1e-4)


def test_a_dimension_that_never_moved_is_centred_and_cannot_explode(make_line):
    lines = [make_line(n, speaker_vector=np.array([1.0, 2.0, n], np.float32)) for n in range(4)]
    scaler = FeatureScaler.fit(lines)
    scaled = scaler.apply("speaker", np.array([1.0, 900.0, 1.5], np.float32))
    assert scaled.tolist() == [0.0, 10.0, 0.0]  # the end of the scale, not 898


def test_a_scaler_survives_its_checkpoint_to_the_last_bit(lines):
    scaler = FeatureScaler.fit(lines)
    again = FeatureScaler.from_json(scaler.to_json())
    for name, scale in scaler.scales.items():
        assert np.array_equal(scale.mean, again.scales[name].mean)
        assert np.array_equal(scale.deviation, again.scales[name].deviation)
