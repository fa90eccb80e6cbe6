import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import ClipError, FeatureAbsent, ModelRefusedError
from redub.core.types import AudioSpec
from redub.features.sound.speech_input import on_mel_clock, speech_of
from redub.features.weights.checkpoint_parts import only_file, tensor_table
from redub.features.weights.folder import WeightFolder
from tests.features.voices import AUDIO, media_of, silence, vowel

STYLE_DUBBER = AudioSpec(
    sample_rate_hz=22_050, n_fft=1024, hop_samples=256, win_samples=1024, mel_channels=80
)


def test_two_seconds_are_198_rows_and_200_frames():
    rows = np.arange(198, dtype=np.float32)[:, None]
    expected = [0, *range(198), 197]  # one row repeated at each edge
    assert on_mel_clock(rows, 200, AUDIO)[:, 0].tolist() == expected


@given(
    st.integers(1, 400),
    st.sampled_from([(22_050, 256), (22_050, 220), (16_000, 160), (24_000, 300)]),
)
def test_each_frame_takes_the_row_that_lies_nearest(row_count, rate_and_hop):
    rate, hop = rate_and_hop
    audio = AudioSpec(sample_rate_hz=rate, hop_samples=hop, win_samples=1024)
    frames = round((row_count * 160 + 240) / 16_000 * rate) // hop
    chosen = on_mel_clock(np.arange(row_count, dtype=np.float32)[:, None], frames, audio)
    middles_s = (160 * np.arange(row_count) + 200) / 16_000
    for t, row in enumerate(chosen[:, 0].astype(int)):
        distance = np.abs(middles_s - (t + 0.5) * hop / rate)
        assert distance[row] <= distance.min() + 1e-9


def test_sound_at_another_rate_is_resampled_once_for_all():
    # 1 s of a tone at 22.05 kHz is the same tone at 16 kHz.
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)
    media = media_of(tone, rate=22_050)
    speech = speech_of(media, STYLE_DUBBER)
    assert speech.dtype == np.float32
    assert abs(len(speech) - 16_000) <= 1
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(len(speech)) / 16_000)
    np.testing.assert_allclose(speech[500:-500], expected[500:-500], atol=1e-3)
    assert speech_of(media, STYLE_DUBBER) is speech


def test_unusable_sound_is_absent_and_broken_sound_is_an_error():
    broken = vowel(0.5)
    broken[100] = np.nan
    for samples, code, kind in (
        (None, "E-FEAT-NOSOUND", FeatureAbsent),
        (silence(1.0), "E-FEAT-SILENT", FeatureAbsent),
        (vowel(1.0)[:300], "E-FEAT-SHORT", FeatureAbsent),
        (vowel(1.0)[:500], "E-FEAT-SHORT", FeatureAbsent),
        (broken, "E-IN-NAN", ClipError),
    ):
        with pytest.raises(kind) as raised:
            speech_of(media_of(samples), AUDIO, least=560)
        assert raised.value.code == code
    with pytest.raises(ClipError) as raised:
        speech_of(media_of(vowel(0.5), rate=8_000), AUDIO)
    assert raised.value.code == "E-IN-RATE"


def folder(tmp_path, *names):
    return WeightFolder(name="w", path=tmp_path, files=dict.fromkeys(names, ""))


def test_the_one_checkpoint_of_a_folder_is_found_and_two_are_refused(tmp_path):
    assert only_file(folder(tmp_path, "a.pt", "config.json"), ".pt", ".pth") == "a.pt"
    for names in (("a.pt", "b.pth"), ("config.json",), ()):
        with pytest.raises(ModelRefusedError) as refused:
            only_file(folder(tmp_path, *names), ".pt", ".pth")
        assert refused.value.code == "E-MODEL-FILE"


@pytest.mark.parametrize("value", [None, [], "x", {"a": "text"}, {"a": {"b": 1}}])
def test_what_is_no_table_of_tensors_is_refused(tmp_path, value):
    with pytest.raises(ModelRefusedError):
        tensor_table(value, folder(tmp_path), "model.pt")
