"""What is refused before anything is decoded, and in which words."""

from __future__ import annotations

import os
import re
import socket
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from redub.core.errors import ClipError
from redub.footage.faults import FAULTS, ClipFault, shown
from redub.footage.limits import DecodeLimits
from redub.footage.messages import ProbeReply, read_reply, text_of
from redub.footage.paths import locate, open_regular
from redub.footage.probe import probe
from redub.footage.structure import missing_bytes

from .media import make, steady


def refusal(path: Path, **settings) -> ClipError:
    with pytest.raises(ClipError) as caught:
        probe(path, **settings)
    assert caught.value.code in FAULTS
    assert caught.value.message
    return caught.value


def test_an_ordinary_file_is_described(tmp_path):
    info = probe(make(tmp_path / "x.mp4", steady(50), sound="aac", sound_rate_hz=44_100))
    assert (info.container, info.video_codec, info.audio_codec) == ("mov", "h264", "aac")
    assert (info.width, info.height, info.frames, info.sample_rate_hz) == (96, 48, 50, 44_100)
    assert info.duration_s == pytest.approx(2.0)
    assert info.fps == pytest.approx(25)
    assert (info.has_video, info.has_audio, info.is_vfr, info.notes) == (True, True, False, ())
    assert abs(info.av_mismatch_ms) < 30


def test_sound_alone_is_described(tmp_path):
    info = probe(make(tmp_path / "x.flac", sound="flac", sound_s=1.5))
    assert (info.container, info.has_video, info.has_audio) == ("flac", False, True)
    assert (info.width, info.frames, info.fps) == (0, 0, 0.0)
    assert info.duration_s == pytest.approx(1.5, abs=1e-3)


def test_a_description_survives_the_wire(tmp_path):
    info = probe(make(tmp_path / "x.mkv", steady(5, 25, 3)))
    assert info.notes
    reply = ProbeReply(info=info, peak_memory_mib=1)
    assert read_reply(text_of(reply)) == reply


def test_the_fps_of_a_film_is_counted(tmp_path):
    film = Fraction(24000, 1001)
    info = probe(make(tmp_path / "x.mp4", steady(48, film), rate=film))
    assert info.fps == pytest.approx(23.976, abs=1e-3)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "E-IN-EMPTY"),
        (np.random.default_rng(0).bytes(20_000), "E-IN-FORMAT"),
        (b"\0" * 10_000, "E-IN-FORMAT"),
        (b"x", "E-IN-FORMAT"),
        (b"RIFF", "E-IN-FORMAT"),
        (b"\x1a\x45\xdf\xa3", "E-IN-FORMAT"),
        (b"a plain text, no film at all\n" * 50, "E-IN-FORMAT"),
    ],
)
def test_what_is_no_media_is_refused(tmp_path, content, code):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    assert refusal(path).code == code


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fast.mp4", {"times": steady(100), "container_options": {"movflags": "+faststart"}}),
        ("x.mkv", {"times": steady(100), "sound": "flac"}),
        (
            "x.avi",
            {
                "times": steady(100),
                "codec": "mjpeg",
                "pixels": "yuvj420p",
                "tick": Fraction(1, 25),
            },
        ),
        ("x.wav", {"sound": "pcm_s16le", "sound_s": 4}),
        ("x.flac", {"sound": "flac", "sound_s": 4}),
    ],
)
def test_a_file_cut_in_half_is_refused_with_what_it_declared(tmp_path, name, settings):
    whole = make(tmp_path / name, **settings)
    assert probe(whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    error = refusal(whole)
    assert error.code == "E-IN-TRUNC"
    if "times" in settings:
        assert error.message.startswith("declared 100 frames, decoded ")
        count = int(error.message.split("decoded ")[1].split(":")[0])
        assert 5 < count < 95
    else:
        end_s = float(re.findall(r"(?:ends after|decoded) (\d\.\d+) s", error.message)[0])
        assert 1.8 < end_s < 2.2


@pytest.mark.parametrize("lost", [1, 20, 2000])
def test_even_a_small_cut_at_the_end_is_noticed(tmp_path, lost):
    options = {"movflags": "+faststart"}
    path = make(tmp_path / "x.mp4", steady(100), sound="aac", container_options=options)
    path.write_bytes(path.read_bytes()[:-lost])
    assert refusal(path).code == "E-IN-TRUNC"


def test_an_mp4_without_its_index_is_cut_off(tmp_path):
    path = make(tmp_path / "x.mp4", steady(100))  # the index comes last
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    error = refusal(path)
    assert error.code == "E-IN-TRUNC"
    assert "index" in error.message


def test_complete_files_and_live_streams_miss_nothing(tmp_path):
    live = {"live": "1"}
    files = [
        make(tmp_path / "a.mp4", steady(10)),
        make(tmp_path / "b.mkv", steady(10)),
        make(tmp_path / "live.mkv", steady(10), format="matroska", container_options=live),
        make(tmp_path / "c.ts", steady(10), tick=Fraction(1, 25)),
        make(tmp_path / "d.wav", sound="pcm_s16le", sound_s=1.0),
    ]
    for path in files:
        with open_regular(path) as descriptor:
            assert missing_bytes(descriptor) == 0
        assert probe(path)


def test_pictures_over_the_limit_are_refused(tmp_path):
    path = make(tmp_path / "x.mp4", steady(3))
    assert probe(path, limits=DecodeLimits(max_pixels_per_frame=96 * 48))
    error = refusal(path, limits=DecodeLimits(max_pixels_per_frame=96 * 48 - 1))
    assert error.code == "E-IN-TOOBIG"
    assert "96x48" in error.message


def test_a_bomb_of_a_small_file_is_refused_before_decoding(tmp_path):
    def black(_, width, height):
        return np.zeros((height, width, 3), np.uint8)

    options = {"preset": "ultrafast"}
    path = make(tmp_path / "b.mp4", steady(2), size=(4096, 4096), picture=black, options=options)
    assert path.stat().st_size < 100_000
    assert refusal(path).code == "E-IN-TOOBIG"


def test_missing_files_and_links_that_lead_nowhere(tmp_path):
    (tmp_path / "dangling.mp4").symlink_to("nowhere")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    for name in ("absent.mp4", "dangling.mp4", "loop.mp4", "x" * 300, "no/folder.mp4"):
        assert refusal(tmp_path / name).code == "E-IN-MISSING"
        with pytest.raises(ClipError) as caught:
            locate(tmp_path, name)
        assert caught.value.code == "E-IN-MISSING"


def test_pipes_devices_sockets_and_folders_are_never_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    server = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    server.bind("s.mp4")
    opened = []
    real_open = os.open
    monkeypatch.setattr(os, "open", lambda *a, **k: opened.append(a) or real_open(*a, **k))
    with server:
        for name, word in [
            ("pipe.mp4", "a pipe"),
            ("folder.mp4", "a folder"),
            ("s.mp4", "a socket"),
            ("/dev/zero", "a device"),
        ]:
            error = refusal(tmp_path / name)
            assert error.code == "E-IN-NOTFILE"
            assert word in error.message
    assert opened == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_without_permission_as_another_user():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = make(Path(folder) / "x.mp4", steady(3))
        os.chmod(path, 0o644)
        os.seteuid(65534)
        try:
            assert probe(path).frames == 3
            os.seteuid(0)
            os.chmod(path, 0)
            os.seteuid(65534)
            assert refusal(path).code == "E-IN-PERM"
        finally:
            os.seteuid(0)


@pytest.mark.parametrize(
    "path",
    ["http://127.0.0.1:{port}/x.mp4", "concat:a|b", "subfile,,start,0,end,9,,:x", "file:x.mp4"],
)
def test_a_path_that_names_a_protocol_is_refused_and_no_connection_is_made(
    tmp_path, path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        named = path.format(port=listener.getsockname()[1])
        assert refusal(Path(named)).code == "E-SEC-SCHEME"
        with pytest.raises(ClipError) as caught:
            locate(tmp_path, named)
        assert caught.value.code == "E-SEC-SCHEME"
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_title_with_a_colon_is_no_protocol(tmp_path):
    make(tmp_path / "Alien: Covenant.mp4", steady(3))
    assert probe(locate(tmp_path, "Alien: Covenant.mp4")).frames == 3


@pytest.mark.parametrize("ending", ["mp4", "m3u8", "ts"])
def test_a_playlist_never_opens_another_file(tmp_path, ending):
    other = make(tmp_path / "other.ts", steady(10), tick=Fraction(1, 25))
    playlist = tmp_path / f"list.{ending}"
    playlist.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:0.4,\n{other}\n#EXT-X-ENDLIST\n"
    )
    # Relative atime: reading a file that was changed after it was last read moves its atime.
    os.utime(other, (0, time.time()))
    assert refusal(playlist).code == "E-IN-FORMAT"
    assert os.stat(other).st_atime == 0


@pytest.mark.parametrize(
    "name",
    [
        "-rf.mp4",
        "zwei\nZeilen.mp4",
        "Příběh 映画.mp4",
        "http:x.mp4",
        "%d.mp4",
        os.fsdecode(b"\xff.mp4"),
    ],
)
def test_odd_names_are_just_names(tmp_path, name):
    assert probe(make(tmp_path / "plain.mp4", steady(4)).rename(tmp_path / name)).frames == 4


def test_a_source_must_lie_below_the_root(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside.mp4"
    (root / "deep").mkdir(parents=True)
    make(outside, steady(3))
    inside = make(root / "x.mp4", steady(3))
    (root / "link.mp4").symlink_to(outside)
    (root / "fine.mp4").symlink_to("x.mp4")
    (root / "away").symlink_to(tmp_path)
    for name in ("../outside.mp4", str(outside), "deep/../../outside.mp4", "link.mp4",
                 "away/outside.mp4", "a\0b"):  # fmt: skip
        with pytest.raises(ClipError) as caught:
            locate(root, name)
        assert caught.value.code == "E-SEC-ESCAPE", name
    assert locate(root, "x.mp4") == inside == locate(root, "fine.mp4")


def test_a_file_that_is_written_to_while_it_is_read_is_noticed(tmp_path):
    path = tmp_path / "x.mp4"
    path.write_bytes(b"first")
    with pytest.raises(ClipError) as caught, open_regular(path):
        path.write_bytes(b"second")
    assert caught.value.code == "E-IN-CHANGED"


def test_names_in_messages_cannot_steer_a_terminal(tmp_path):
    assert shown("a\x1b[2Jb\u202e\nc") == "a\\x1b[2Jb\\u202e\\nc"
    assert "\x1b" not in refusal(tmp_path / "a\x1b[2J.mp4").message


def test_a_row_keeps_all_that_an_error_knows():
    error = ClipError("m", code="E-DEC-CRASH", signal="SIGABRT", attempts=2, peak_memory_mib=9)
    row = ClipFault.of(error, source="a.mp4", clip_id="a-0001", line=1)
    assert (row.code, row.message, row.signal, row.attempts, row.peak_memory_mib) == (
        "E-DEC-CRASH", "m", "SIGABRT", 2, 9)  # fmt: skip
