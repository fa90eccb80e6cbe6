"""Which streams, channels and orientation of a file are used; what is said of it; how it is dubbed.

The media are made here, and every expected value is what the file was made from.
"""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from redub.core.types import AudioSpec, VideoSpec, Waveform
from redub.footage.decode import decode_in_process
from redub.footage.probe import probe
from redub.footage.remux import write_dubbed
from tests.footage.media import bars, chirp, make, number_of, numbers_of, shown_at, steady

RATE_HZ = 48_000
AUDIO = AudioSpec(sample_rate_hz=RATE_HZ)


def tone(hz):
    return lambda times_s: 0.4 * np.sin(2 * np.pi * hz * np.asarray(times_s, np.float64))


def pitch_of(samples, rate_hz=RATE_HZ):
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate_hz / len(samples))


def clip(path, start, end, **more):
    return decode_in_process(
        path, start_frame=start, end_frame=end, video=VideoSpec(), audio=AUDIO, **more
    )


def frames_in(info):
    """Length on the grid of 25 frames a second."""
    return int(info.duration_s * 25 + 1e-3)


def read(path, info):
    return clip(path, 0, frames_in(info), channel=info.channel)


def with_tracks(path, tracks, *, seconds=2.0, pictures=50):
    """A film and one sound track for each (hz, disposition, metadata)."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 48, "yuv420p"
        video.codec_context.thread_count = 1
        sounds = []
        for hz, disposition, metadata in tracks:
            stream = output.add_stream("aac", rate=RATE_HZ, layout="mono")
            stream.disposition = Disposition(disposition)
            stream.metadata.update(metadata)
            sounds.append((stream, tone(hz)))
        packets = []
        for number in range(pictures):
            frame = av.VideoFrame.from_ndarray(bars(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode(None)
        for stream, signal in sounds:
            values = signal(np.arange(round(seconds * RATE_HZ)) / RATE_HZ).astype(np.float32)
            for at in range(0, len(values), 1024):
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(values[None, at : at + 1024]), "fltp", "mono"
                )
                frame.sample_rate, frame.pts = RATE_HZ, at
                frame.time_base = Fraction(1, RATE_HZ)
                packets += stream.encode(frame)
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda one: one.dts * one.time_base):
            output.mux(packet)
    return path


NONE, DEFAULT, COMMENT = Disposition(0), Disposition.default, Disposition.comment
IMPAIRED = Disposition.visual_impaired


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.mov"])
@pytest.mark.parametrize(
    ("tracks", "wanted"),
    [
        ([(300, COMMENT, {}), (700, DEFAULT, {})], 700),
        ([(300, NONE, {}), (700, DEFAULT, {})], 700),
        ([(300, IMPAIRED | DEFAULT, {}), (700, NONE, {})], 700),
        ([(300, DEFAULT, {}), (700, NONE, {})], 300),
        ([(300, NONE, {"title": "Director's Commentary"}), (700, NONE, {})], 700),
        ([(300, NONE, {"title": "Audio Description"}), (700, NONE, {})], 700),
        ([(300, COMMENT, {})], 300),
    ],
)
def test_the_sound_of_the_film_is_its_default_track_of_no_other_purpose(
    tmp_path, name, tracks, wanted
):
    if name.endswith(("mp4", "mov")):  # these name a track by its handler
        tracks = [
            (hz, kind, {"handler_name": about["title"]} if about else {})
            for hz, kind, about in tracks
        ]
    if name.endswith("mov") and tracks[0][1] & IMPAIRED:
        pytest.skip("QuickTime has no place for this purpose")
    path = with_tracks(tmp_path / name, tracks)

    info = probe(path)
    heard = read(path, info).waveform

    assert abs(pitch_of(heard.samples[4800:-4800]) - wanted) < 3
    if len(tracks) > 1:
        place = [hz for hz, _, _ in tracks].index(wanted) + 1
        assert any(note.startswith(f"sound track {place} of 2") for note in info.notes)
    else:
        assert not any("sound track" in note for note in info.notes)


def test_a_dub_replaces_the_track_of_the_film_and_is_the_default_one(tmp_path):
    path = with_tracks(tmp_path / "two.mp4", [(300, COMMENT, {}), (700, DEFAULT, {})])
    dubbed = Waveform(tone(1500)(np.arange(2 * RATE_HZ) / RATE_HZ).astype(np.float32), RATE_HZ)

    write_dubbed(path, tmp_path / "out.mp4", dubbed)

    pitches = {}
    with av.open(str(tmp_path / "out.mp4")) as opened:
        assert [bool(s.disposition & DEFAULT) for s in opened.streams.audio] == [False, True]
        assert opened.streams.audio[0].disposition & COMMENT
        for place in (0, 1):
            opened.seek(0)
            sound = [f.to_ndarray()[0] for f in opened.decode(audio=place)]
            pitches[place] = pitch_of(np.concatenate(sound)[4800:-4800])
    assert pitches[0] == pytest.approx(300, abs=3)
    assert pitches[1] == pytest.approx(1500, abs=3)


@pytest.mark.parametrize("cover_first", [True, False])
@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_a_cover_is_not_the_film_in_whatever_order(tmp_path, name, attached, cover_first):
    path = tmp_path / name
    with av.open(str(path), "w") as output:
        streams = {}
        for kind in ("cover", "film") if cover_first else ("film", "cover"):
            if kind == "cover":
                stream = output.add_stream("mjpeg", rate=25)
                stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
                stream.disposition = Disposition.attached_pic if attached else NONE
            else:
                stream = output.add_stream("libx264", rate=25)
                stream.width, stream.height, stream.pix_fmt = 96, 48, "yuv420p"
            stream.codec_context.thread_count = 1
            streams[kind] = stream
        cover = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
        cover.pts, cover.time_base = 0, Fraction(1, 25)
        packets = streams["cover"].encode(cover) + streams["cover"].encode(None)
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(bars(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += streams["film"].encode(frame)
        packets += streams["film"].encode(None)
        for packet in sorted(packets, key=lambda one: one.dts * one.time_base):
            output.mux(packet)

    info = probe(path)

    assert (frames_in(info), info.width, info.height) == (50, 96, 48)
    assert numbers_of(read(path, info).frames) == list(range(50))


def stereo(left, right):
    return lambda times_s: np.stack([left(times_s), right(times_s)])


def silence(times_s):
    return np.zeros(len(np.asarray(times_s)))


@pytest.mark.parametrize(
    ("signal", "channel", "said"),
    [
        (stereo(chirp, lambda t: -chirp(t)), 0, "cancel each other"),
        (stereo(chirp, lambda t: -0.5 * chirp(t)), 0, "cancel each other"),
        (stereo(silence, chirp), 1, "the left channel is silent"),
        (stereo(chirp, silence), 0, "the right channel is silent"),
        (stereo(chirp, chirp), None, ""),
        (stereo(chirp, tone(3000)), None, ""),
    ],
)
@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_stereo_whose_mean_would_lose_the_voice_is_read_from_one_channel(
    tmp_path, codec, signal, channel, said
):
    path = tmp_path / ("film.mov" if codec == "pcm_s16le" else "film.mp4")
    make(path, steady(50), sound=codec, layout="stereo", signal=signal)

    info = probe(path)
    heard = read(path, info).waveform.samples

    assert info.channel == channel
    assert any(said in note for note in info.notes) if said else not info.notes
    times_s = np.arange(len(heard)) / RATE_HZ
    both = np.stack([signal(times_s)[0], signal(times_s)[1]])
    expected = both.mean(axis=0) if channel is None else both[channel]
    middle = slice(9600, -9600)
    assert np.sqrt(np.mean((heard - expected)[middle] ** 2)) < 0.02


@pytest.mark.parametrize("name", ["film.mov", "film.mkv", "film.avi"])  # only MOV names channels
def test_surround_sound_is_read_from_its_centre(tmp_path, name):
    def signal(times_s):  # FL, FR, FC, LFE, BL, BR
        music, hush = 0.3 * np.sin(2 * np.pi * 3000 * times_s), 0 * times_s
        return np.stack([music, music, chirp(times_s), hush, music, music])

    path = make(tmp_path / name, steady(50), sound="pcm_s16le", layout="5.1", signal=signal)

    info = probe(path)
    heard = read(path, info).waveform.samples

    assert any("centre of 6 channels" in note for note in info.notes)
    middle = slice(9600, -9600)
    times_s = np.arange(len(heard)) / RATE_HZ
    assert np.abs((heard - chirp(times_s))[middle]).max() < 1e-3


def test_surround_sound_with_a_silent_centre_is_mixed_and_said(tmp_path):
    def signal(times_s):
        hush = 0 * times_s
        return np.stack([chirp(times_s), chirp(times_s), hush, hush, hush, hush])

    path = make(tmp_path / "film.mov", steady(50), sound="pcm_s16le", layout="5.1", signal=signal)

    info = probe(path)

    assert info.channel is None
    assert any("centre of 6 channels is silent" in note for note in info.notes)
    assert np.abs(read(path, info).waveform.samples).max() > 0.1


def streamed_wav(path, seconds, size):
    """A 16-bit mono WAV as a writer makes it that cannot go back to fill in the sizes."""
    samples = (chirp(np.arange(round(seconds * RATE_HZ)) / RATE_HZ) * 32767).astype("<i2")
    sizes = size.to_bytes(4, "little")
    fmt = b"fmt " + (16).to_bytes(4, "little") + np.array([1, 1], "<u2").tobytes()
    fmt += np.array([RATE_HZ, 2 * RATE_HZ], "<u4").tobytes() + np.array([2, 16], "<u2").tobytes()
    path.write_bytes(b"RIFF" + sizes + b"WAVE" + fmt + b"data" + sizes + samples.tobytes())
    return path


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0, 0x7FFFFFFF, 0xFFFFFFDB])
@pytest.mark.parametrize("seconds", [1.0, 2.36, 3.0004])
def test_a_wav_of_unknown_size_is_as_long_as_its_samples(tmp_path, size, seconds):
    path = streamed_wav(tmp_path / "s.wav", seconds, size)

    info = probe(path)

    assert frames_in(info) == int(seconds * 25)
    heard = read(path, info).waveform.samples
    times_s = np.arange(len(heard)) / RATE_HZ
    assert np.abs(heard - chirp(times_s)).max() < 1e-3


def test_sound_that_comes_late_keeps_its_time_and_is_noted(tmp_path):
    path = make(
        tmp_path / "late.mkv", steady(75), sound="pcm_s16le", sound_start_s=1.0, sound_s=2.0
    )

    info = probe(path)
    heard = read(path, info).waveform.samples

    assert any("the sound begins 1.000 s after the video" in note for note in info.notes)
    times_s = np.arange(len(heard)) / RATE_HZ
    assert np.abs(heard[: RATE_HZ - 480]).max() == 0
    late = slice(RATE_HZ + 480, -480)
    assert np.abs((heard - chirp(times_s))[late]).max() < 1e-3


def test_a_hole_in_the_sound_is_silence_and_is_noted(tmp_path):
    path = tmp_path / "hole.mkv"
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 48, "yuv420p"
        sound = output.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        packets = []
        for number in range(75):
            frame = av.VideoFrame.from_ndarray(bars(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode(None)
        for at in [*range(0, RATE_HZ, 960), *range(2 * RATE_HZ, 3 * RATE_HZ, 960)]:
            values = (chirp((at + np.arange(960)) / RATE_HZ) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(values[None], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, at, Fraction(1, RATE_HZ)
            packets += sound.encode(frame)
        for packet in sorted(packets, key=lambda one: one.dts * one.time_base):
            output.mux(packet)

    info = probe(path)
    heard = read(path, info).waveform.samples

    assert any("1 hole of together 1.000 s, the first at 1.000 s" in note for note in info.notes)
    assert np.abs(heard[RATE_HZ + 480 : 2 * RATE_HZ - 480]).max() == 0
    times_s = np.arange(len(heard)) / RATE_HZ
    assert np.abs((heard - chirp(times_s))[2 * RATE_HZ + 480 : -480]).max() < 1e-3


# Display matrices: rows (a, b, c, d) of the 3x3 matrix in a track header; a point (x, y) of the
# stored picture, y down, is shown at (a x + c y, b x + d y).
MATRICES = {
    "as it is": ((1, 0, 0, 1), lambda image: image),
    "90 degrees right": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "180 degrees": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "90 degrees left": ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda image: image[::-1]),
    "transposed": ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    "transposed about the other diagonal": (
        (0, -1, -1, 0),
        lambda image: np.rot90(image, 2).swapaxes(0, 1),
    ),
}


def quadrants(number, width, height):
    """Four colours, so that each of the eight orientations is another picture."""
    image = np.zeros((height, width, 3), np.uint8)
    top, left = slice(0, height // 2), slice(0, width // 2)
    bottom, right = slice(height // 2, None), slice(width // 2, None)
    image[top, left], image[top, right] = (220, 30, 30), (30, 220, 30)
    image[bottom, left], image[bottom, right] = (30, 30, 220), (220, 220, 30)
    return image


def set_matrix(path, matrix):
    """Write the matrix into the first track header of an MP4 or MOV."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    start = at + (40 if data[at] == 0 else 52)
    a, b, c, d = matrix
    one = 1 << 16
    values = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]
    data[start : start + 36] = np.array(values, ">i4").tobytes()
    path.write_bytes(bytes(data))


def colours(image):
    """Mean colours of the four quarters' middles, left to right and top to bottom."""
    height, width = image.shape[:2]
    rows, columns = (height // 4, 3 * height // 4), (width // 4, 3 * width // 4)
    return np.array(
        [image[y - 3 : y + 3, x - 3 : x + 3].mean((0, 1)) for y in rows for x in columns]
    )


def shown(path):
    """The picture as a player shows it, by the file's own matrix; from the first stream."""
    info = probe(path)
    return clip(path, 0, 1, waveform=False).frames[0], info


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_every_orientation_is_set_upright_also_in_a_dub(tmp_path, name, codec):
    matrix, upright = MATRICES[name]
    path = make(
        tmp_path / "film.mov", steady(25), codec=codec, picture=quadrants, tick=Fraction(1, 25)
    )
    set_matrix(path, matrix)
    wanted = colours(upright(quadrants(0, 96, 48)))

    seen, info = shown(path)
    assert np.abs(colours(seen) - wanted).max() < 40
    assert (info.width < info.height) == (matrix[0] == 0)

    # mp4 cannot hold MPEG-2 here, so that film is encoded anew; H.264 keeps its packets
    dub = Waveform(chirp(np.arange(RATE_HZ) / RATE_HZ).astype(np.float32), RATE_HZ)
    write_dubbed(path, tmp_path / "out.mp4", dub)
    again, dubbed = shown(tmp_path / "out.mp4")
    assert np.abs(colours(again) - wanted).max() < 40
    assert (dubbed.width < dubbed.height) == (matrix[0] == 0)


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
@pytest.mark.parametrize("target", ["out.mp4", "out.mkv"])
def test_a_dub_keeps_the_shape_of_the_pixels(tmp_path, codec, target):
    path = make(
        tmp_path / "a.mkv",
        steady(25),
        codec=codec,
        size=(720, 576),
        aspect=Fraction(64, 45),
        tick=Fraction(1, 25),
    )
    dub = Waveform(chirp(np.arange(RATE_HZ) / RATE_HZ).astype(np.float32), RATE_HZ)

    write_dubbed(path, tmp_path / target, dub)

    with av.open(str(tmp_path / target)) as opened:
        video = opened.streams.video[0]
        frame = next(opened.decode(video=0))
        assert (frame.width, frame.height) == (720, 576)
        assert Fraction(video.sample_aspect_ratio) * 720 / 576 == Fraction(16, 9)


def test_hevc_for_apple_players_stays_so(tmp_path):
    path = tmp_path / "h.mp4"
    with av.open(str(path), "w") as output:
        try:
            video = output.add_stream("libx265", rate=25, options={"x265-params": "log-level=none"})
        except (av.error.FFmpegError, ValueError):
            pytest.skip("this FFmpeg has no HEVC encoder")
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.codec_tag = "hvc1"
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(bars(number, 96, 64), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    dub = Waveform(chirp(np.arange(RATE_HZ) / RATE_HZ).astype(np.float32), RATE_HZ)

    report = write_dubbed(path, tmp_path / "out.mp4", dub)

    assert report.video_copied
    assert b"hvc1" in (tmp_path / "out.mp4").read_bytes()
    assert b"hev1" not in (tmp_path / "out.mp4").read_bytes()


@pytest.mark.parametrize("bframes", [0, 2])
@pytest.mark.parametrize(("ending", "codec"), [("mpg", "mpeg1video"), ("vob", "mpeg2video")])
def test_every_frame_of_a_program_stream_is_the_right_one(tmp_path, ending, codec, bframes):
    path = tmp_path / f"film.{ending}"
    formats = {"mpg": "mpeg", "vob": "vob"}
    make(
        path,
        steady(200),
        codec=codec,
        options={"b": "900000", "maxrate": "900000", "bufsize": "400000"},
        tick=Fraction(1, 25),
        bframes=bframes,
        size=(192, 96),
        format=formats[ending],
        sound="mp2",
    )
    info = probe(path)

    times = steady(200)
    for start in range(0, frames_in(info) - 6, 7):
        pictures = clip(path, start, start + 6, waveform=False).frames
        moments = [Fraction(k, 25) for k in range(start, start + 6)]
        assert numbers_of(pictures) == shown_at(times, moments), start
    assert number_of(clip(path, 0, 1, waveform=False).frames[0]) == 0


@pytest.mark.parametrize("target", ["out.mkv", "out.mp4"])
def test_a_font_inside_a_film_is_kept_or_named(tmp_path, target):
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 48, "yuv420p"
        output.add_attachment("title.ttf", "font/ttf", b"a font" * 50)
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(bars(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    dub = Waveform(chirp(np.arange(RATE_HZ) / RATE_HZ).astype(np.float32), RATE_HZ)

    report = write_dubbed(path, tmp_path / target, dub)

    with av.open(str(tmp_path / target)) as opened:
        fonts = [s for s in opened.streams if s.type == "attachment"]
        assert len(opened.streams.audio) == 1
        if target.endswith("mkv"):
            assert [(font.name, font.data) for font in fonts] == [("title.ttf", b"a font" * 50)]
        else:
            assert any("attachment" in note and "left out" in note for note in report.notes)
