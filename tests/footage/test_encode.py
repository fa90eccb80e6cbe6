"""Clips keep sound and picture together; dubbing leaves the picture's bytes alone."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from redub.core.errors import ClipError, StorageError
from redub.core.types import Waveform
from redub.footage.encode import write_clip
from redub.footage.remux import DISCLOSURE, write_dubbed

RATE_HZ, FPS = 16_000, 25
CLICKS = (10, 37, 60)  # pictures that flash; the click sounds when they appear


def clicks(pictures, *, rate_hz=RATE_HZ, at=CLICKS):
    samples = np.zeros(pictures * rate_hz // FPS, np.float32)
    for picture in at:
        samples[picture * rate_hz // FPS] = 0.9
    return Waveform(samples, rate_hz)


def tone(seconds, *, rate_hz=RATE_HZ):
    clock = np.arange(round(seconds * rate_hz)) / rate_hz
    return Waveform((0.4 * np.sin(2 * np.pi * 440 * clock)).astype(np.float32), rate_hz)


def flashes(pictures, *, at=CLICKS):
    for number in range(pictures):
        level = 235 if number in at else 20
        yield np.full((48, 64, 3), level, np.uint8)


def pictures_of(path):
    """(time in seconds, mean brightness) of every picture, in the order shown."""
    with av.open(str(path)) as container:
        return [
            (float(frame.time), frame.to_ndarray(format="gray").mean())
            for frame in container.decode(video=0)
        ]


def sound_of(path):
    """The track's samples on the film's clock, from time 0."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    rate_hz = frames[0].sample_rate
    end = max(round(f.time * rate_hz) + f.samples for f in frames)
    track = np.zeros(end, np.float32)
    for frame in frames:
        first, block = round(frame.time * rate_hz), frame.to_ndarray()[0]
        skip = max(0, -first)
        track[first + skip : first + len(block)] = block[skip:]
    return track, rate_hz


def click_times(path, *, level=0.25):
    track, rate_hz = sound_of(path)
    loud = np.flatnonzero(np.abs(track) > level)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > rate_hz // 20) + 1)
    return [float(group[np.abs(track[group]).argmax()]) / rate_hz for group in groups]


def packets_of(path, kind="video"):
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [(bytes(p), p.pts * p.time_base) for p in container.demux(stream) if p.size]


def film(path, *, container="mp4", codec="libx264", times=None, bframes=0, extra=(), clock_s=0):
    """A foreign film: flashing pictures at ``times`` (k/25 s unless given), a 440 Hz tone.

    Its clock shows ``clock_s`` when it starts.
    """
    times = times or [Fraction(k, FPS) for k in range(75)]
    with av.open(str(path), "w", format=container) as output:
        video = output.add_stream(codec, rate=FPS)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 90_000)
        if codec == "libx264":
            video.codec_context.max_b_frames = bframes
        track = output.add_stream("aac" if container != "webm" else "libopus", rate=48_000)
        track.codec_context.layout = "mono"
        for name, value in extra:
            output.metadata[name] = value
        output.start_encoding()
        samples = tone(float(times[-1]), rate_hz=48_000).samples
        step = track.codec_context.frame_size
        for first in range(0, len(samples) - step, step):
            block = samples[None, first : first + step]
            kind = "fltp" if container != "webm" else "flt"
            frame = av.AudioFrame.from_ndarray(block, format=kind, layout="mono")
            frame.sample_rate, frame.pts = 48_000, first + clock_s * 48_000
            frame.time_base = Fraction(1, 48_000)
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
        for number, time in enumerate(times):
            level = 235 if number in CLICKS else 20
            picture = np.full((48, 64, 3), level, np.uint8)
            picture[:, : number % 60] //= 2
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = round((time + clock_s) * 90_000)
            frame.time_base = Fraction(1, 90_000)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))


def silent_film(path, *, container="mp4"):
    with av.open(str(path), "w", format=container) as output:
        video = output.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number, picture in enumerate(flashes(75)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))


# --- clips ------------------------------------------------------------------------------------


def test_a_click_and_its_flash_stay_together(tmp_path):
    write_clip(tmp_path / "clip.mp4", flashes(75), FPS, clicks(75))
    seen = pictures_of(tmp_path / "clip.mp4")
    assert [time for time, level in seen if level > 150] == pytest.approx([k / 25 for k in CLICKS])
    assert len(seen) == 75
    assert click_times(tmp_path / "clip.mp4") == pytest.approx([k / 25 for k in CLICKS], abs=0.005)


def test_a_clip_has_a_key_picture_at_least_every_twelve(tmp_path):
    write_clip(tmp_path / "clip.mp4", flashes(75), FPS, clicks(75))
    with av.open(str(tmp_path / "clip.mp4")) as container:
        keys = [p.is_keyframe for p in container.demux(video=0) if p.size]
    assert keys[0]
    assert max(np.diff([k for k, is_key in enumerate([*keys, True]) if is_key])) <= 12


def test_the_same_clip_twice_is_the_same_file(tmp_path):
    for name in ("one.mp4", "two.mp4"):
        write_clip(tmp_path / name, flashes(30), FPS, tone(1.2))
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_the_index_stands_before_the_media(tmp_path):
    write_clip(tmp_path / "clip.mp4", flashes(30), FPS, tone(1.2))
    content = (tmp_path / "clip.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_a_clip_without_pictures_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ClipError, match="E-IN-EMPTY"):
        write_clip(tmp_path / "clip.mp4", [], FPS, tone(1))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_clip_leaves_nothing_and_the_old_file(tmp_path):
    def broken():
        yield from flashes(5)
        raise RuntimeError("the renderer died")

    (tmp_path / "clip.mp4").write_bytes(b"old")
    with pytest.raises(RuntimeError):
        write_clip(tmp_path / "clip.mp4", broken(), FPS, tone(1))
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == b"old"


# --- dubbing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bframes", [0, 2])
@pytest.mark.parametrize("target", ["mp4", "mkv"])
@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_dubbing_keeps_every_picture_packet(tmp_path, container, target, bframes):
    source, out = tmp_path / "source.bin", tmp_path / f"dubbed.{target}"
    film(source, container=container, bframes=bframes)
    report = write_dubbed(source, out, clicks(75))
    assert report.video_copied
    before, after = packets_of(source), packets_of(out)
    assert [data for data, _ in after] == [data for data, _ in before]
    times = [float(time) for _, time in before]
    assert [float(time) for _, time in after] == pytest.approx(times, abs=0.001)
    assert click_times(out) == pytest.approx([k / 25 for k in CLICKS], abs=0.005)


def test_dubbing_keeps_the_duration_within_a_picture(tmp_path):
    film(tmp_path / "source.mp4")
    write_dubbed(tmp_path / "source.mp4", tmp_path / "out.mp4", tone(60))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(75 / 25, abs=1 / 25)


def test_a_late_picture_keeps_its_time_and_the_sound_starts_with_the_film(tmp_path):
    # The source's tone starts at 0, its pictures half a second later; the dub does the same.
    times = [Fraction(1, 2) + Fraction(k, FPS) for k in range(75)]
    film(tmp_path / "source.mp4", times=times)
    write_dubbed(tmp_path / "source.mp4", tmp_path / "out.mp4", clicks(75))
    assert pictures_of(tmp_path / "out.mp4")[0][0] == pytest.approx(0.5, abs=0.001)
    assert click_times(tmp_path / "out.mp4") == pytest.approx([k / 25 for k in CLICKS], abs=0.005)


def test_uneven_picture_times_survive(tmp_path):
    rng = np.random.default_rng(3)
    steps = np.cumsum(rng.integers(2000, 6000, 75))
    times = [Fraction(0), *(Fraction(int(s), 90_000) for s in steps[:-1])]
    film(tmp_path / "source.mp4", times=times)
    write_dubbed(tmp_path / "source.mp4", tmp_path / "out.mp4", tone(2))
    shown = [time for time, _ in pictures_of(tmp_path / "out.mp4")]
    assert shown == pytest.approx([float(t) for t in times], abs=1e-4)


def test_a_film_without_sound_gets_some(tmp_path):
    silent_film(tmp_path / "source.mp4")
    write_dubbed(tmp_path / "source.mp4", tmp_path / "out.mp4", clicks(75))
    assert [d for d, _ in packets_of(tmp_path / "out.mp4")] == [
        d for d, _ in packets_of(tmp_path / "source.mp4")
    ]
    assert click_times(tmp_path / "out.mp4") == pytest.approx([k / 25 for k in CLICKS], abs=0.005)


def test_the_original_voice_is_gone(tmp_path):
    film(tmp_path / "source.mp4")
    quiet = Waveform(np.zeros(3 * RATE_HZ, np.float32), RATE_HZ)
    write_dubbed(tmp_path / "source.mp4", tmp_path / "out.mp4", quiet)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams.audio) == 1
    assert np.abs(sound_of(tmp_path / "source.mp4")[0]).max() > 0.3
    assert np.abs(sound_of(tmp_path / "out.mp4")[0]).max() < 0.01


def test_a_broadcast_stream_is_moved_to_time_zero(tmp_path):
    film(tmp_path / "source.ts", container="mpegts", clock_s=10)
    with av.open(str(tmp_path / "source.ts")) as container:
        assert container.start_time > av.time_base  # the trap: its clock starts late
    assert write_dubbed(tmp_path / "source.ts", tmp_path / "out.mp4", clicks(75)).video_copied
    seen = pictures_of(tmp_path / "out.mp4")
    assert seen[0][0] == pytest.approx(0, abs=0.04)
    flash_s = next(time for time, level in seen if level > 150) - seen[0][0]
    assert flash_s == pytest.approx(CLICKS[0] / 25, abs=0.001)
    assert click_times(tmp_path / "out.mp4")[0] == pytest.approx(CLICKS[0] / 25, abs=0.045)


def test_a_picture_that_does_not_fit_is_encoded_and_the_report_says_so(tmp_path):
    film(tmp_path / "source.webm", container="webm", codec="libvpx")
    report = write_dubbed(tmp_path / "source.webm", tmp_path / "out.mp4", clicks(75))
    assert not report.video_copied
    assert any("re-encoded" in note for note in report.notes)
    shown = pictures_of(tmp_path / "out.mp4")
    assert [time for time, level in shown if level > 120] == pytest.approx(
        [k / 25 for k in CLICKS], abs=0.002
    )


def test_a_rate_that_aac_does_not_know_is_resampled(tmp_path):
    silent_film(tmp_path / "source.mp4")
    odd = clicks(75, rate_hz=20_000)
    write_dubbed(tmp_path / "source.mp4", tmp_path / "out.mp4", odd)
    assert sound_of(tmp_path / "out.mp4")[1] == 48_000
    assert click_times(tmp_path / "out.mp4", level=0.15) == pytest.approx(
        [k / 25 for k in CLICKS], abs=0.005
    )


def test_the_file_says_that_its_voice_is_made(tmp_path):
    film(tmp_path / "source.mp4", extra=[("title", "A night"), ("comment", "old")])
    write_dubbed(tmp_path / "source.mp4", tmp_path / "out.mp4", tone(2))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.metadata["comment"] == DISCLOSURE
        assert container.metadata["title"] == "A night"


@pytest.mark.parametrize("target", ["mp4", "mkv"])
def test_subtitles_become_a_track_with_their_words_and_times(tmp_path, target):
    film(tmp_path / "source.mp4")
    srt = tmp_path / "lines.srt"
    srt.write_text("1\n00:00:00,400 --> 00:00:01,120\nHello there.\n\n"
                   "2\n00:00:02,000 --> 00:00:02,400\nGood night.\n")  # fmt: skip
    out = tmp_path / f"out.{target}"
    write_dubbed(tmp_path / "source.mp4", out, tone(2), subtitles=srt)
    cues = packets_of(out, "subtitles")
    for text, start_s in ((b"Hello there.", 0.4), (b"Good night.", 2.0)):
        times = [float(time) for data, time in cues if text in data]
        assert times == pytest.approx([start_s], abs=0.001)


def test_a_second_sound_track_is_kept(tmp_path):
    film(tmp_path / "one.mp4")
    with (
        av.open(str(tmp_path / "one.mp4")) as source,
        av.open(str(tmp_path / "two.mp4"), "w") as output,
    ):
        picture = output.add_stream_from_template(source.streams.video[0])
        tracks = [output.add_stream_from_template(source.streams.audio[0]) for _ in range(2)]
        for packet in source.demux():
            if not packet.size:
                continue
            if packet.stream.type == "video":
                packet.stream = picture
                output.mux_one(packet)
                continue
            twin = av.Packet(bytes(packet))
            twin.pts, twin.dts, twin.time_base = packet.pts, packet.dts, packet.time_base
            for copy, track in zip((packet, twin), tracks, strict=True):
                copy.stream = track
                output.mux_one(copy)
    write_dubbed(tmp_path / "two.mp4", tmp_path / "out.mp4", tone(1))
    kinds = {}
    with av.open(str(tmp_path / "out.mp4")) as container:
        for packet in container.demux():
            if packet.stream.type == "audio" and packet.size:
                kinds.setdefault(packet.stream.codec_context.sample_rate, []).append(bytes(packet))
    assert sorted(kinds) == [16_000, 48_000]
    assert kinds[48_000] == [data for data, _ in packets_of(tmp_path / "one.mp4", "audio")]


# --- refusals ---------------------------------------------------------------------------------


def test_a_link_as_target_is_refused_and_its_file_untouched(tmp_path):
    film(tmp_path / "source.mp4")
    (tmp_path / "precious.mp4").write_bytes(b"precious")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "precious.mp4")
    with pytest.raises(StorageError, match="E-STORE-TARGET"):
        write_dubbed(tmp_path / "source.mp4", tmp_path / "link.mp4", tone(1))
    assert (tmp_path / "precious.mp4").read_bytes() == b"precious"
    assert (tmp_path / "link.mp4").is_symlink()


def test_a_pipe_or_folder_as_target_is_refused(tmp_path):
    film(tmp_path / "source.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("pipe.mp4", "folder.mp4"):
        with pytest.raises(StorageError, match="E-STORE-TARGET"):
            write_dubbed(tmp_path / "source.mp4", tmp_path / name, tone(1))


def test_the_source_is_never_its_own_target(tmp_path):
    film(tmp_path / "source.mp4")
    content = (tmp_path / "source.mp4").read_bytes()
    os.link(tmp_path / "source.mp4", tmp_path / "same.mp4")
    for name in ("source.mp4", "same.mp4"):
        with pytest.raises(StorageError, match="E-STORE-TARGET"):
            write_dubbed(tmp_path / "source.mp4", tmp_path / name, tone(1))
    assert (tmp_path / "source.mp4").read_bytes() == content


def test_a_missing_folder_or_unknown_ending_is_a_storage_error(tmp_path):
    film(tmp_path / "source.mp4")
    for out in (tmp_path / "nowhere" / "out.mp4", tmp_path / "out.xyz"):
        with pytest.raises(StorageError):
            write_dubbed(tmp_path / "source.mp4", out, tone(1))


@pytest.mark.parametrize("content", [b"", b"not a film", b"\0" * 5000])
def test_rubbish_is_a_clip_error_and_leaves_nothing(tmp_path, content):
    (tmp_path / "source.mp4").write_bytes(content)
    with pytest.raises(ClipError):
        write_dubbed(tmp_path / "source.mp4", tmp_path / "out.mp4", tone(1))
    assert [p.name for p in tmp_path.iterdir()] == ["source.mp4"]


def test_sound_alone_is_a_clip_error(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as output:
        track = output.add_stream("aac", rate=RATE_HZ)
        track.codec_context.layout = "mono"
        frame = av.AudioFrame.from_ndarray(tone(1).samples[None, :1024], "fltp", "mono")
        frame.sample_rate, frame.pts = RATE_HZ, 0
        output.mux(track.encode(frame))
        output.mux(track.encode(None))
    with pytest.raises(ClipError, match="E-IN-NOVIDEO"):
        write_dubbed(tmp_path / "sound.mp4", tmp_path / "out.mp4", tone(1))


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from redub.core.errors import StorageError
from redub.core.types import Waveform
from redub.footage.encode import write_clip
from redub.footage.remux import write_dubbed
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead, as on a full disk
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
folder, noise = Path(sys.argv[1]), np.random.default_rng(0)
loud = Waveform(noise.uniform(-0.5, 0.5, 48_000).astype(np.float32), 16_000)
try:
    if sys.argv[3] == "dub":
        write_dubbed(folder / "source.mp4", folder / "out.mp4", loud)
    else:
        pictures = noise.integers(0, 255, (75, 48, 64, 3), dtype=np.uint8)
        write_clip(folder / "out.mp4", iter(pictures), 25, loud)
except StorageError as error:
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("limit", [100, 9_000])
@pytest.mark.parametrize("act", ["dub", "clip"])
def test_a_full_disk_is_a_storage_error_and_leaves_nothing(tmp_path, act, limit):
    film(tmp_path / "source.mp4")
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, str(tmp_path), str(limit), act],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 5, run.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["source.mp4"]


def test_the_full_disk_of_these_tests_is_real(tmp_path):
    # The same program with room enough succeeds: the refusal above comes from the limit.
    film(tmp_path / "source.mp4")
    assert hasattr(resource, "RLIMIT_FSIZE")
    assert hasattr(signal, "SIGXFSZ")
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, str(tmp_path), "9000000", "dub"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert Path(tmp_path / "out.mp4").is_file()
