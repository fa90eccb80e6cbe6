import io

import av
import cv2
import numpy as np
import pytest
import soundfile

from redub.core.types import Waveform
from redub.pages.contents import Sound
from redub.pages.media import (
    MEL_BYTES,
    MediaShelf,
    data_address,
    encode_sound,
    mel_png,
    palette_png,
    poster_jpeg,
    sound_bytes,
)


def tone(seconds=0.5, rate=16_000):
    clock = np.arange(round(seconds * rate)) / rate
    return Waveform((0.5 * np.sin(2 * np.pi * 440 * clock)).astype(np.float32), rate)


def decoded(content):
    with av.open(io.BytesIO(content)) as container:
        frames = [f.to_ndarray() for f in container.decode(audio=0)]
    return np.concatenate([f.reshape(-1) for f in frames])


@pytest.mark.parametrize("samples", [0, 1, 2, 1023, 4097, 8000])
def test_flac_is_the_sound_to_the_sample(samples):
    sound = Waveform(tone().samples[:samples], 16_000)
    read, rate = soundfile.read(io.BytesIO(encode_sound(sound, "flac")), dtype="int16")
    expected = np.round(sound.samples * 32767).astype(np.int16)
    assert rate == 16_000
    assert read.tolist() == (expected.tolist() or [0])


def test_full_scale_is_clipped_not_wrapped():
    loud = Waveform(np.array([2.0, -2.0] * 100, np.float32), 16_000)
    read, _ = soundfile.read(io.BytesIO(encode_sound(loud, "flac")), dtype="int16")
    assert set(read.tolist()) == {32767, -32768}


def test_aac_sounds_like_it_and_is_smaller():
    rng = np.random.default_rng(0)
    noise = Waveform((0.2 * rng.standard_normal(32_000)).astype(np.float32), 16_000)
    assert len(encode_sound(noise, "aac")) < 0.6 * len(encode_sound(noise, "flac"))
    sound = decoded(encode_sound(tone(1.0), "aac"))
    spectrum = np.abs(np.fft.rfft(sound[2000:14_000] * np.hanning(12_000)))
    assert np.argmax(spectrum) * 16_000 / 12_000 == pytest.approx(440, abs=2)
    assert len(sound) == pytest.approx(16_000, abs=2100)  # whole AAC frames, priming included


@pytest.mark.parametrize("codec", ["flac", "aac"])
def test_the_same_sound_gives_the_same_bytes(codec):
    assert encode_sound(tone(), codec) == encode_sound(tone(), codec)


def test_given_bytes_are_not_touched():
    assert sound_bytes(Sound(encoded=b"abc", mime="audio/ogg"), "flac") == (b"abc", "audio/ogg")


def picture(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def test_another_decoder_reads_our_png():
    levels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = picture(palette_png(levels, 12))
    assert image.shape == (3, 4, 3)
    brightness = image.sum(axis=-1).ravel().astype(int)
    assert (np.diff(brightness) > 0).all()  # magma rises from black to pale yellow


def test_low_frequencies_are_at_the_bottom_and_time_runs_right():
    mel = np.full((30, 80), -11.0, np.float32)
    mel[20:, 0] = 0.0  # loud, lowest channel, late
    image = picture(mel_png(mel, loudest=0.0)).sum(axis=-1)
    assert image[-1, 25] > 5 * max(image[-1, 5], image[0, 25], 1)


def test_loudness_is_relative_to_the_loudest_of_the_line():
    mel = np.zeros((10, 80), np.float32)
    assert picture(mel_png(mel, loudest=0.0)).mean() > picture(mel_png(mel, loudest=6.0)).mean()


@pytest.mark.parametrize("frames", [1, 2, 400, 6000])
def test_a_mel_picture_of_pure_noise_stays_small(frames):
    mel = np.random.default_rng(0).uniform(-11, 2, (frames, 80)).astype(np.float32)
    png = mel_png(mel, loudest=2.0)
    assert len(png) <= MEL_BYTES
    assert picture(png).shape[0] == 80


def test_posters_are_small_and_keep_colour_and_shape():
    frame = np.zeros((600, 300, 3), np.uint8)
    frame[..., 0] = 220  # red in RGB
    image = picture(poster_jpeg(frame))
    assert image.shape == (288, 144, 3)
    assert image[..., 2].mean() > 200 > image[..., 0].mean() + 150  # OpenCV reads BGR


def test_a_mime_type_cannot_smuggle_markup():
    assert data_address(b"", 'audio/wav" onerror="x') == "data:application/octet-stream;base64,"
    assert data_address(b"\x00", "audio/mp4") == "data:audio/mp4;base64,AA=="


def test_media_used_once_are_inline_and_shared_ones_are_stored_once():
    shelf = MediaShelf()
    for content in (b"once", b"often", b"often"):
        shelf.announce(content, "audio/wav")
    assert shelf.attribute(b"once", "audio/wav") == ("src", data_address(b"once", "audio/wav"))
    name, key = shelf.attribute(b"often", "audio/wav")
    assert name == "data-medium"
    assert shelf.attribute(b"often", "audio/wav") == (name, key)
    assert shelf.stored == {key: data_address(b"often", "audio/wav")}
