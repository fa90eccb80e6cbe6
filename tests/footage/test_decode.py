"""Which picture and which sound a clip gets, against the times written into the test media."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from redub.core.errors import ClipError, ConfigError
from redub.core.types import AudioSpec, VideoSpec
from redub.footage.decode import decode_in_process
from redub.footage.limits import DecodeLimits
from redub.footage.probe import probe

from .media import bars, chirp, grid, make, number_of, numbers_of, remux, shown_at, steady

FILM = Fraction(24000, 1001)
EVERY_25TH = Fraction(1, 25)
QUIET_X265 = {"x265-params": "log-level=none", "preset": "ultrafast"}
FAST_VP9 = {"cpu-used": "8", "deadline": "realtime"}

CASES = {
    "plain.mp4": {"times": steady(60), "sound": "aac"},
    "b-frames.mp4": {"times": steady(60), "bframes": 3, "sound": "aac"},
    "30fps.mp4": {"times": steady(70, 30), "rate": 30},
    "film.mp4": {"times": steady(60, FILM), "rate": FILM, "bframes": 2},
    "film.mkv": {"times": steady(60, FILM), "rate": FILM, "bframes": 3, "sound": "flac"},
    "offset.mkv": {
        "times": steady(60, 25, 2),
        "sound": "pcm_s16le",
        "sound_s": 2.4,
        "sound_start_s": 2.0,
    },
    "offset.mp4": {
        "times": steady(60, 25, 2),
        "sound": "aac",
        "sound_s": 2.4,
        "sound_start_s": 2.0,
    },
    "stream.ts": {"times": steady(60), "bframes": 2, "sound": "aac", "tick": EVERY_25TH},
    "asp.avi": {
        "times": steady(60),
        "codec": "mpeg4",
        "bframes": 2,
        "tick": EVERY_25TH,
        "sound": "pcm_s16le",
    },
    "h264.avi": {"times": steady(60), "bframes": 2, "tick": EVERY_25TH},
    "mjpeg.avi": {"times": steady(60), "codec": "mjpeg", "pixels": "yuvj420p", "tick": EVERY_25TH},
    "hevc.mp4": {"times": steady(60), "codec": "libx265", "bframes": 3, "options": QUIET_X265},
    "vp9.webm": {
        "times": steady(60),
        "codec": "libvpx-vp9",
        "options": FAST_VP9,
        "tick": Fraction(1, 1000),
    },
    "grid.mpg": {
        "times": steady(60),
        "codec": "mpeg1video",
        "bframes": 2,
        "tick": EVERY_25TH,
        "sound": "mp2",
        "format": "mpeg",
    },
    "open-gop.mp4": {
        "times": steady(60),
        "bframes": 2,
        "options": {"x264-params": "open-gop=1:keyint=12:scenecut=0"},
    },
    "odd.mkv": {"times": steady(60), "size": (97, 35), "codec": "ffv1", "pixels": "yuv444p"},
}


def clip(path: Path, start: int, end: int, **settings):
    settings = {"video": VideoSpec(), "audio": AudioSpec(), **settings}
    return decode_in_process(path, start_frame=start, end_frame=end, **settings)


def true_sound(start: int, end: int, origin_s: float = 0.0):
    return chirp(np.arange((end - start) * 640) / 16_000 + start / 25 + origin_s)


def delay_samples(sound, start: int, end: int, origin_s: float = 0.0) -> int:
    """By how many 16 kHz samples the sound is early (+) or late (-): the best of +-20 ms."""
    moments = np.arange(len(sound)) / 16_000 + start / 25 + origin_s
    inner = slice(800, -800)
    shifts = range(-320, 321)
    errors = [np.abs(sound - chirp(moments + s / 16_000))[inner].mean() for s in shifts]
    return shifts[int(np.argmin(errors))]


@pytest.mark.parametrize("name", CASES)
def test_every_picture_is_the_one_shown_at_its_grid_time(tmp_path, name):
    settings = dict(CASES[name])
    times = settings.pop("times")
    path = make(tmp_path / name, times, **settings)
    info = probe(path)
    assert info.frames == len(times)
    assert not info.is_vfr
    since_start = [time - times[0] for time in times]
    end = int(info.duration_s * 25)
    assert end >= 50
    for start in (0, 23, end - 1):
        for decoder in {"pyav", info.decoder}:
            found = clip(path, start, end, decoder=decoder, waveform=False).frames
            wanted = shown_at(since_start, grid(start, end))
            if (
                name == "film.mkv"
            ):  # stored in whole milliseconds, so 0.5 ms cannot be distinguished
                rounded = [Fraction(round(1000 * time), 1000) for time in since_start]
                wanted = shown_at(rounded, [t + Fraction(1, 2000) for t in grid(start, end)])
            assert numbers_of(found) == wanted, (start, decoder)


def test_only_h264_in_mp4_or_matroska_goes_to_decord(tmp_path):
    chosen = {}
    for name, settings in CASES.items():
        settings = dict(settings)
        info = probe(make(tmp_path / name, settings.pop("times"), **settings))
        chosen[name] = info.decoder
        assert info.why_decoder
        assert ("are open" in info.why_decoder) == (name == "open-gop.mp4")
    h264 = ("plain", "b-frames", "30fps", "film", "offset")  # and not "open-gop"
    assert {name for name, decoder in chosen.items() if decoder == "decord"} == {
        name for name in CASES if name.startswith(h264)
    }


@pytest.mark.parametrize("name", ["b-frames.mp4", "film.mkv", "offset.mkv"])
def test_decord_gives_the_pixels_of_pyav_where_it_is_chosen(tmp_path, name):
    settings = dict(CASES[name])
    path = make(tmp_path / name, settings.pop("times"), **settings)
    video = VideoSpec(max_side=64)
    ours = clip(path, 3, 50, decoder="pyav", video=video)
    theirs = clip(path, 3, 50, decoder="decord", video=video)
    assert ours.decoder == "pyav"
    assert theirs.decoder == "decord"
    assert ours.frames.shape == theirs.frames.shape == (47, 32, 64, 3)
    difference = np.abs(ours.frames.astype(int) - theirs.frames)
    assert difference.mean() < 1.0
    np.testing.assert_array_equal(ours.waveform.samples, theirs.waveform.samples)


@pytest.mark.parametrize("seed", range(4))
def test_a_variable_rate_is_sampled_by_time(tmp_path, seed):
    steps = random.Random(seed).choices((1, 400, 960, 2000, 5000), k=50)
    times = [Fraction(sum(steps[:k]), 24_000) for k in range(50)]
    info = probe(make(tmp_path / "vfr.mp4", times, bframes=seed % 3))
    assert info.is_vfr
    end = int(info.duration_s * 25)
    for decoder in {"pyav", info.decoder}:
        found = clip(tmp_path / "vfr.mp4", 0, end, decoder=decoder).frames
        assert numbers_of(found) == shown_at(times, grid(0, end))


def test_the_first_picture_stands_in_before_it_begins_and_sound_keeps_its_place(tmp_path):
    times = steady(50, 25, Fraction(1, 2))
    path = make(tmp_path / "late.mkv", times, sound="flac", sound_s=2.5)
    info = probe(path)
    assert any("0.500 s after the sound" in note for note in info.notes)
    found = clip(path, 0, 60)
    assert numbers_of(found.frames) == shown_at(times, grid(0, 60))
    assert found.frames[:12].std(axis=0).max() == 0
    np.testing.assert_allclose(found.waveform.samples, true_sound(0, 60), atol=5e-3)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("span", [(0, 50), (13, 38), (49, 50)])
def test_sound_is_the_formula_at_16_khz_whatever_the_source_rate(tmp_path, rate_hz, span):
    path = make(tmp_path / "tone.wav", sound="pcm_f32le", sound_s=2.0, sound_rate_hz=rate_hz)
    sound = clip(path, *span)
    assert sound.frames is None
    assert sound.waveform.samples.dtype == np.float32
    assert len(sound.waveform.samples) == (span[1] - span[0]) * 640
    inner = slice(80 if span[0] == 0 else None, -80 if span[1] == 50 else None)
    np.testing.assert_allclose(sound.waveform.samples[inner], true_sound(*span)[inner], atol=1e-3)


@pytest.mark.parametrize(
    "name",
    ["plain.mp4", "b-frames.mp4", "film.mkv", "offset.mkv", "offset.mp4", "stream.ts", "asp.avi"],
)
def test_sound_and_picture_share_one_origin_to_a_millisecond(tmp_path, name):
    settings = dict(CASES[name])
    times = settings.pop("times")
    path = make(tmp_path / name, times, **settings)
    for start in (0, 20):
        sound = clip(path, start, 55).waveform.samples
        assert abs(delay_samples(sound, start, 55, float(times[0]))) <= 16


def test_a_clip_of_a_long_source_is_a_slice_of_the_whole(tmp_path):
    path = make(tmp_path / "x.mp4", steady(300), bframes=2, sound="pcm_s16le", format="mov")
    whole, piece = clip(path, 0, 300), clip(path, 140, 210)
    np.testing.assert_array_equal(piece.frames, whole.frames[140:210])
    np.testing.assert_allclose(
        piece.waveform.samples, whole.waveform.samples[140 * 640 : 210 * 640], atol=1e-5
    )


def test_stereo_is_averaged_and_the_centre_of_a_surround_mix_counts_most(tmp_path):
    def left_only(t):
        return np.stack([0.5 * np.ones_like(t), np.zeros_like(t)])

    def centre_only(t):
        return np.stack([0.5 * np.ones_like(t) * (k == 2) for k in range(6)])

    stereo = make(
        tmp_path / "s.wav", sound="pcm_f32le", sound_s=1, layout="stereo", signal=left_only
    )
    surround = make(
        tmp_path / "c.wav", sound="pcm_f32le", sound_s=1, layout="5.1", signal=centre_only
    )
    assert np.median(clip(stereo, 5, 20).waveform.samples) == pytest.approx(0.25, abs=1e-4)
    # FL + FR weigh 1 each, FC sqrt 2, two surrounds sqrt 1/2 each: 1.41421 / 4.82843
    assert np.median(clip(surround, 5, 20).waveform.samples) == pytest.approx(0.14645, abs=1e-4)


def test_loud_sound_is_clipped_to_one(tmp_path):
    path = make(tmp_path / "l.wav", sound="pcm_f32le", sound_s=1, signal=lambda t: 3 * chirp(t) + 1)
    samples = clip(path, 0, 25).waveform.samples
    assert samples.max() == 1.0
    assert samples.min() >= -1.0


def test_missing_sound_is_silence_and_said(tmp_path):
    path = make(tmp_path / "short.mkv", steady(50), sound="flac", sound_s=1.0)
    assert probe(path).av_mismatch_ms == pytest.approx(-1000, abs=2)
    found = clip(path, 0, 50)
    assert np.abs(found.waveform.samples[16_100:]).max() < 1e-3
    assert found.waveform.samples[:15_900].any()
    assert "1.00 s" in found.notes[0]
    assert clip(path, 0, 24).notes == ()


def test_what_is_not_there_or_not_asked_for_is_none(tmp_path):
    silent = make(tmp_path / "silent.mp4", steady(10))
    both = make(tmp_path / "both.mp4", steady(10), sound="aac")
    assert clip(silent, 0, 10).waveform is None
    assert clip(silent, 0, 10).frames is not None
    assert clip(both, 0, 10, frames=False).frames is None
    assert clip(both, 0, 10, waveform=False).waveform is None


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((96, 48), 384, (96, 48)),
        ((96, 48), 48, (48, 24)),
        ((97, 35), 384, (96, 34)),
        ((36, 140), 70, (18, 70)),
        ((2, 2), 384, (2, 2)),
        ((1, 1), 384, (2, 2)),
        ((2, 90), 45, (2, 44)),
    ],
)
def test_pictures_shrink_to_fit_and_have_even_sides(tmp_path, size, max_side, expected):
    path = make(tmp_path / "s.mkv", steady(3), size=size, codec="ffv1", pixels="yuv444p")
    found = clip(path, 0, 3, video=VideoSpec(max_side=max_side))
    assert found.frames.shape == (3, expected[1], expected[0], 3)


def test_colours_are_rgb_and_upright(tmp_path):
    def quarters(_, width, height):
        picture = np.zeros((height, width, 3), np.uint8)
        picture[: height // 2, : width // 2] = (250, 0, 0)
        picture[height // 2 :, width // 2 :] = (0, 0, 250)
        return picture

    path = make(tmp_path / "q.mkv", steady(3), codec="ffv1", pixels="yuv444p", picture=quarters)
    picture = clip(path, 0, 3).frames[1].astype(int)
    assert np.abs(picture[5, 5] - (250, 0, 0)).max() < 8
    assert np.abs(picture[-5, -5] - (0, 0, 250)).max() < 8
    assert picture[5, -5].max() < 8


def turn_left(path: Path) -> Path:
    """Write a display matrix into the track header that turns the picture a quarter left."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # version 0: the matrix follows 40 bytes later
    one = 1 << 16
    matrix = [0, -one, 0, one, 0, 0, 0, 0, 1 << 30]
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(bytes(data))
    return path


def test_a_turned_picture_is_set_upright(tmp_path):
    plain = make(tmp_path / "plain.mp4", steady(5))
    turned = turn_left(make(tmp_path / "turned.mp4", steady(5)))
    info = probe(turned)
    assert (info.width, info.height, info.decoder) == (48, 96, "pyav")
    assert any("turned 90 degrees left" in note for note in info.notes)
    expected = np.rot90(clip(plain, 0, 5).frames, 1, axes=(1, 2))
    np.testing.assert_array_equal(clip(turned, 0, 5).frames, expected)


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    path = make(tmp_path / "wide.mp4", steady(5), aspect=Fraction(2))
    info = probe(path)
    assert (info.width, info.height, info.decoder) == (96, 24, "pyav")
    assert clip(path, 0, 5).frames.shape == (5, 24, 96, 3)


@pytest.mark.parametrize("span", [(5, 5), (9, 2), (-1, 4)])
def test_an_empty_or_reversed_span_is_refused(tmp_path, span):
    with pytest.raises(ClipError) as caught:
        clip(make(tmp_path / "x.mp4", steady(10)), *span)
    assert caught.value.code == "E-IN-RANGE"


def test_the_last_picture_is_held_for_two_pictures_and_no_longer(tmp_path):
    path = make(tmp_path / "x.mp4", steady(10))
    assert numbers_of(clip(path, 8, 12).frames) == [8, 9, 9, 9]
    for decoder in ("pyav", "decord"):
        with pytest.raises(ClipError, match=r"frames end at 0\.40 s") as caught:
            clip(path, 8, 15, decoder=decoder)
        assert caught.value.code == "E-IN-RANGE"


def test_a_clip_over_the_limit_is_refused(tmp_path):
    path = make(tmp_path / "x.mp4", steady(50))
    with pytest.raises(ClipError) as caught:
        clip(path, 0, 26, limits=DecodeLimits(max_clip_s=1))
    assert caught.value.code == "E-IN-TOOLONG"
    assert len(clip(path, 0, 25, limits=DecodeLimits(max_clip_s=1)).frames) == 25


def test_an_unknown_decoder_is_a_setting_error(tmp_path):
    with pytest.raises(ConfigError, match="ffmpeg"):
        clip(make(tmp_path / "x.mp4", steady(5)), 0, 5, decoder="ffmpeg")


def test_sound_that_is_no_number_is_refused(tmp_path):
    def broken(t):
        return np.where(t > 1.0, np.nan, 0.1)

    path = make(tmp_path / "nan.wav", sound="pcm_f32le", sound_s=2, signal=broken)
    assert clip(path, 0, 15).waveform is not None
    with pytest.raises(ClipError) as caught:
        clip(path, 15, 40)
    assert caught.value.code == "E-IN-NONFINITE"


def test_a_damaged_picture_is_refused_only_where_it_is_shown(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (100, 48, 96, 3), np.uint8)
    path = make(tmp_path / "x.mp4", steady(100), picture=lambda k, *_: noise[k], gop=10)
    data = bytearray(path.read_bytes())
    start, size = (
        data.index(b"mdat") + 4,
        int.from_bytes(data[data.index(b"mdat") - 4 :][:4], "big"),
    )
    middle = start + size // 2
    data[middle : middle + 2000] = rng.integers(0, 255, 2000, np.uint8).tobytes()
    path.write_bytes(bytes(data))
    assert len(clip(path, 0, 30).frames) == 30
    with pytest.raises(ClipError) as caught:
        clip(path, 35, 70)
    assert caught.value.code == "E-IN-CORRUPT"
    assert probe(path).decoder == "pyav"

    # Where a share is allowed, the same frames are counted and said.
    lenient = clip(path, 35, 70, limits=DecodeLimits(max_concealed_share=0.9))
    assert [note for note in lenient.notes if "of 35 frames are damaged" in note]
    share = int(lenient.notes[0].split()[0]) / 35
    assert clip(path, 35, 70, limits=DecodeLimits(max_concealed_share=share)).notes
    with pytest.raises(ClipError):
        clip(path, 35, 70, limits=DecodeLimits(max_concealed_share=share - 0.5 / 35))
    assert not clip(path, 0, 30, limits=DecodeLimits(max_concealed_share=0.9)).notes


def test_a_clip_inside_a_hundred_thousand_pictures_is_found_in_bounded_memory(tmp_path):
    short = make(tmp_path / "short.mp4", steady(250), gop=250, options={"preset": "ultrafast"})
    long = remux(short, tmp_path / "long.mp4", repeats=400)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from redub.core.types import AudioSpec, VideoSpec\n"
        "from redub.footage.probe import probe\n"
        "from redub.footage.decode import decode_in_process\n"
        "from tests.footage.media import numbers_of\n"
        "path = Path(sys.argv[1])\n"
        "info = probe(path)\n"
        "clip = decode_in_process(path, start_frame=77_777, end_frame=77_800,"
        " video=VideoSpec(), audio=AudioSpec())\n"
        # Not ru_maxrss: Linux lets a new program inherit the peak of the one that started it.
        "status = Path('/proc/self/status').read_text()\n"
        "peak = int(status.split('VmHWM:')[1].split()[0]) // 1024\n"
        "print(info.frames, info.decoder, numbers_of(clip.frames)[0], peak)\n"
    )
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code, str(long)],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    frames, decoder, number, peak_mib = result.stdout.split()
    assert (int(frames), decoder, int(number)) == (100_000, "pyav", 77_777 % 250)
    assert int(peak_mib) < 400


def test_full_size_pictures_are_not_kept(tmp_path):
    # 60 pictures of 1600x1200 would take 330 MiB; shown at 64 pixels they take next to nothing.
    path = make(
        tmp_path / "big.mkv", steady(60), size=(1600, 1200), codec="mjpeg", pixels="yuvj420p"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = clip(path, 0, 60, video=VideoSpec(max_side=64))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert number_of(found.frames[50]) == 50
    assert (after - before) / 1024 < 120


def test_the_bars_can_be_read_back():
    assert [number_of(bars(k)) for k in (0, 1, 2, 77, 4095)] == [0, 1, 2, 77, 4095]
