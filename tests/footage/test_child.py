"""The decoder child: same bytes as in this process, and whatever happens to it stays there."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from redub.core import wire
from redub.core.errors import ClipError, ConfigError
from redub.core.types import AudioSpec, VideoSpec
from redub.footage.child import DecoderChild
from redub.footage.decode import decode_in_process
from redub.footage.limits import DecodeLimits
from redub.footage.messages import (
    DecodeReply,
    DecodeRequest,
    FaultReply,
    MessageError,
    ProbeReply,
    ProbeRequest,
    read_reply,
    read_request,
    text_of,
)
from redub.footage.probe import SourceInfo, probe

from .media import make, number_of, steady

SPECS = {"video": VideoSpec(), "audio": AudioSpec()}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make(tmp_path_factory.mktemp("media") / "film.mp4", steady(60), bframes=2, sound="aac")


@pytest.fixture(scope="module")
def child():
    with DecoderChild() as running:
        yield running


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    """An MP4 whose one stts entry claims 0x7fffffff pictures: decord aborts the process."""
    path = make(tmp_path_factory.mktemp("media") / "bomb.mp4", steady(100))
    data = bytearray(path.read_bytes())
    at = data.index(b"stts") + 4 + 4 + 4  # version and flags, number of entries; then the count
    data[at : at + 4] = (0x7FFFFFFF).to_bytes(4, "big")
    path.write_bytes(bytes(data))
    return path


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(claim) -> bool:
    for _ in range(1000):
        if claim():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_the_child_gives_the_bytes_of_this_process(film, child, decoder):
    assert child.probe(film) == probe(film)
    for span in ((0, 60), (17, 18), (20, 55)):
        settings = {"start_frame": span[0], "end_frame": span[1], "decoder": decoder, **SPECS}
        theirs, ours = child.decode(film, **settings), decode_in_process(film, **settings)
        np.testing.assert_array_equal(theirs.frames, ours.frames)
        np.testing.assert_array_equal(theirs.waveform.samples, ours.waveform.samples)
        assert (theirs.notes, theirs.decoder) == (ours.notes, ours.decoder)
        assert theirs.frames.flags.writeable


def test_parts_not_asked_for_are_none(film, child):
    settings = {"start_frame": 0, "end_frame": 5, **SPECS}
    assert child.decode(film, frames=False, **settings).frames is None
    assert child.decode(film, waveform=False, **settings).waveform is None
    neither = child.decode(film, frames=False, waveform=False, **settings)
    assert (neither.frames, neither.waveform) == (None, None)


def test_arrays_outlive_the_child(film):
    with DecoderChild() as short_lived:
        clip = short_lived.decode(film, start_frame=0, end_frame=30, **SPECS)
    assert short_lived.pid is None
    assert number_of(clip.frames[29]) == 29


def test_faults_cross_with_code_and_text_and_the_child_lives_on(tmp_path, child, film):
    bad = tmp_path / "noise.mp4"
    bad.write_bytes(np.random.default_rng(1).bytes(5000))
    with pytest.raises(ClipError) as there:
        child.probe(bad)
    with pytest.raises(ClipError) as here:
        probe(bad)
    assert (there.value.code, there.value.message) == (here.value.code, here.value.message)
    assert there.value.code == "E-IN-FORMAT"
    pid = child.pid
    child.probe(film)
    assert child.pid == pid


def test_an_unknown_decoder_never_reaches_the_child(film, child):
    with pytest.raises(ConfigError):
        child.decode(film, start_frame=0, end_frame=5, decoder="x", **SPECS)


def test_a_child_killed_between_requests_is_replaced_unnoticed(film):
    with DecoderChild() as child:
        child.probe(film)
        first = child.pid
        os.kill(first, signal.SIGKILL)
        assert wait_for(lambda: not is_alive(first))
        assert child.probe(film).frames == 60
        assert child.pid != first


def test_a_child_killed_in_the_middle_of_a_request_is_retried(film):
    with DecoderChild() as child:
        child.probe(film)
        first, found = child.pid, []
        os.kill(first, signal.SIGSTOP)  # so that the request is surely under way
        asking = threading.Thread(
            target=lambda: found.append(child.decode(film, start_frame=0, end_frame=9, **SPECS))
        )
        asking.start()
        assert wait_for(lambda: child._child.exchanges == 2)
        os.kill(first, signal.SIGKILL)
        assert wait_for(lambda: bool(found))
        # The thread that started the new child is still alive: a child dies with its thread.
        assert [number_of(picture) for picture in found[0].frames] == list(range(9))
        asking.join()
        assert child.probe(film).frames == 60


def test_a_child_that_hangs_is_killed_at_the_deadline(film):
    with DecoderChild(DecodeLimits(wall_s=0.5)) as child:
        child.probe(film)
        stopped = child.pid
        os.kill(stopped, signal.SIGSTOP)
        with pytest.raises(ClipError, match=r"0\.5 s") as caught:
            child.decode(film, start_frame=0, end_frame=5, **SPECS)
        assert caught.value.code == "E-DEC-TIMEOUT"
        assert caught.value.peak_memory_mib > 10
        assert not is_alive(stopped)
        assert child.probe(film).frames == 60


def test_closing_ends_a_request_of_another_thread_at_once(film):
    with DecoderChild(DecodeLimits(wall_s=60)) as child:
        child.probe(film)
        stopped, faults = child.pid, []

        def ask():
            try:
                child.decode(film, start_frame=0, end_frame=5, **SPECS)
            except ClipError as error:
                faults.append(error.code)

        os.kill(stopped, signal.SIGSTOP)  # a file that hangs the decoder
        asking = threading.Thread(target=ask)
        asking.start()
        assert wait_for(lambda: child._child.exchanges == 2)
        child.close()
        asking.join(timeout=10)
        assert faults == ["E-DEC-CRASH"]  # and no second try in a new child
        assert child.pid is None
        assert not is_alive(stopped)
        assert child.probe(film).frames == 60


def test_cpu_time_is_limited_per_request_not_for_life(tmp_path):
    heavy = make(
        tmp_path / "heavy.mkv", steady(2), size=(2000, 2000), codec="mjpeg", pixels="yuvj420p"
    )

    def used_s(pid):
        ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    with DecoderChild(DecodeLimits(cpu_s=1)) as child:
        child.probe(heavy)
        first = child.pid
        for _ in range(180):
            child.decode(heavy, start_frame=0, end_frame=2, **SPECS)
            if used_s(first) > 2.2:
                break
        assert used_s(first) > 2.2
        assert child.pid == first


def test_too_much_cpu_time_is_a_timeout_and_not_tried_again(film):
    with DecoderChild() as child:
        child.probe(film)
        os.kill(child.pid, signal.SIGSTOP)
        os.kill(child.pid, signal.SIGXCPU)  # what the kernel sends at the limit
        threading.Timer(0.2, os.kill, (child.pid, signal.SIGCONT)).start()
        with pytest.raises(ClipError, match="CPU time") as caught:
            child.decode(film, start_frame=0, end_frame=5, **SPECS)
    assert (caught.value.code, caught.value.attempts) == ("E-DEC-TIMEOUT", 1)
    assert caught.value.signal == "SIGXCPU"


def test_decord_aborting_the_process_is_a_named_fault_after_two_tries(bomb, film):
    parent = os.getpid()
    with DecoderChild() as child:
        with pytest.raises(ClipError, match="bad_alloc") as caught:
            child.decode(bomb, start_frame=0, end_frame=10, decoder="decord", **SPECS)
        assert caught.value.code == "E-DEC-CRASH"
        assert caught.value.signal == "SIGABRT"
        assert caught.value.attempts == 2
        assert child.probe(film).frames == 60
    assert os.getpid() == parent


def test_a_count_of_pictures_that_cannot_be_is_refused_before_decord_sees_it(bomb, film, child):
    child.probe(film)
    pid = child.pid
    with pytest.raises(ClipError, match="2147483647 video frames") as caught:
        child.probe(bomb)
    assert caught.value.code == "E-IN-FORMAT"
    assert child.pid == pid


def test_needing_more_memory_than_the_limit_is_said(tmp_path, film):
    # Two pictures shown for 8 s: a small file whose clip at full size takes 1.1 GiB.
    large = make(
        tmp_path / "large.mkv",
        [Fraction(0), Fraction(8)],
        size=(2000, 1000),
        codec="mjpeg",
        pixels="yuvj420p",
    )
    with DecoderChild(DecodeLimits(memory_mib=1000)) as child:
        with pytest.raises(ClipError, match="1000 MiB") as caught:
            child.decode(
                large,
                start_frame=0,
                end_frame=200,
                video=VideoSpec(max_side=2000),
                audio=AudioSpec(),
            )
        assert caught.value.code == "E-DEC-MEM"
        assert caught.value.peak_memory_mib > 10
        assert child.probe(film).frames == 60


def test_the_child_has_given_up_what_it_does_not_need(film):
    with DecoderChild(DecodeLimits(memory_mib=1234)) as child:
        child.probe(film)
        limits = Path(f"/proc/{child.pid}/limits").read_text()
        status = Path(f"/proc/{child.pid}/status").read_text()
    rows = {line[:26].strip(): line[26:].split()[:2] for line in limits.splitlines()}
    assert rows["Max address space"] == [str(1234 << 20)] * 2
    assert rows["Max core file size"] == ["0", "0"]
    assert rows["Max open files"] == ["64", "64"]
    assert int(rows["Max cpu time"][0]) <= 65
    assert "NoNewPrivs:\t1" in status


def test_two_hundred_clips_leave_no_descriptor_behind(film):
    with DecoderChild() as child:
        child.decode(film, start_frame=0, end_frame=2, **SPECS)

        def open_files():
            return [sorted(os.listdir(f"/proc/{pid}/fd")) for pid in ("self", child.pid)]

        gc.collect()  # earlier tests' leftovers of this process
        before, first = open_files(), child.pid
        for _ in range(198):
            child.decode(film, start_frame=0, end_frame=1, **SPECS)
        wait_for(lambda: open_files() == before)  # it answers before it closes its last clip
        assert open_files() == before
        assert child.pid == first
        child.probe(film)
        child.probe(film)
        assert child.pid != first, "the process is replaced after 200 requests"


def test_chatter_of_libraries_neither_blocks_nor_corrupts(film):
    with DecoderChild() as child:
        child.probe(film)
        # What a library would do: fill standard error from inside the child, without end.
        descriptor = os.open(f"/proc/{child.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        written = 0
        try:
            while written < 10 << 20:
                written += os.write(descriptor, b"x" * 4096)
        except BlockingIOError:
            pass
        os.close(descriptor)
        assert 0 < written <= 64 << 10
        assert child.probe(film).frames == 60
        assert child._child.read_output() == ""


def test_the_child_dies_with_its_parent(film, tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from redub.footage.child import DecoderChild\n"
        "child = DecoderChild()\nchild.probe(Path(sys.argv[1]))\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(film)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    os.kill(pid, signal.SIGSTOP)  # it cannot even notice that its input is closed
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_for(lambda: not is_alive(pid))


def test_it_works_where_multiprocessing_may_not_have_children(film):
    code = (
        "import multiprocessing as mp, sys\nfrom pathlib import Path\n"
        "from redub.footage.child import DecoderChild\n"
        "def work(path):\n"
        "    with DecoderChild() as child: print(child.probe(path).frames, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    p = mp.get_context('fork').Process(target=work, args=(Path(sys.argv[1]),),"
        " daemon=True)\n"
        "    p.start(); p.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(film)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "60"


def test_threads_share_one_child(film):
    with DecoderChild() as child:
        child.probe(film)
        pid, found = child.pid, {}

        def work(k):
            clip = child.decode(film, start_frame=k, end_frame=k + 1, **SPECS)
            found[k] = number_of(clip.frames[0])

        threads = [threading.Thread(target=work, args=(k,)) for k in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {k: k for k in range(12)}
        assert child.pid == pid


def test_a_message_that_is_none_is_refused_and_its_file_closed():
    ours, theirs = wire.socket.socketpair()
    before = len(os.listdir("/proc/self/fd"))
    with ours, theirs:
        read, write = os.pipe()
        wire.socket.send_fds(theirs, [b"\0\0\0\x03[1]"], [read])
        with pytest.raises(MessageError):
            wire.receive(ours, read_reply)
        theirs.sendall((1 << 30).to_bytes(4, "big"))
        with pytest.raises(wire.WireClosedError, match="bytes"):
            wire.receive(ours, read_reply)
        with pytest.raises(wire.WireTimeoutError):
            wire.receive(ours, read_reply, deadline_s=time.monotonic() + 0.01)
        os.close(read)
        os.close(write)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["memory_mib", "cpu_s", "wall_s", "clips_per_child"])
def test_a_limit_of_nothing_is_a_setting_error(name):
    with pytest.raises(ConfigError, match=name):
        DecodeLimits(**{name: 0})


MESSAGES = (
    ProbeRequest(path="/a b.mp4", cpu_s=3),
    DecodeRequest(
        path="/ä.mp4", cpu_s=3, start_frame=1, end_frame=9, decoder="pyav", frames=True,
        waveform=False, **SPECS,
    ),
    ProbeReply(
        info=SourceInfo(
            container="mov", duration_s=2.0, has_video=True, has_audio=False, fps=25.0,
            decoder="decord", notes=("one", "two"),
        ),
        peak_memory_mib=70,
    ),
    DecodeReply(shape=(2, 4, 6, 3), notes=(), decoder="pyav", peak_memory_mib=70),
    DecodeReply(samples=640, notes=("n",), decoder="pyav", peak_memory_mib=70),
    FaultReply(code="E-IN-EMPTY", message="no frame", peak_memory_mib=70),
)  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_read_as_it_was_written_and_with_any_field_changed_it_is_refused(message):
    read, other = read_reply, read_request
    if isinstance(message, ProbeRequest | DecodeRequest):
        read, other = read_request, read_reply
    text = text_of(message)
    assert read(text) == message
    with pytest.raises(MessageError):
        other(text)
    whole = json.loads(text)
    for name in whole["fields"]:
        for wrong in ({"$": 1}, [[1]], None):
            changed = {**whole, "fields": {**whole["fields"], name: wrong}}
            with pytest.raises(MessageError):
                read(json.dumps(changed).encode())
    for wrong in (b"[1]", b"{", b'{"message": "Popen", "fields": {}}', b"[" * 100_000, b"\xff"):
        with pytest.raises(MessageError):
            read(wrong)
