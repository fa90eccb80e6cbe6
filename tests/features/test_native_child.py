"""A native library in a child process: its hash, its state, its crashes and its hanging."""

import os
import signal
import time

import numpy as np
import pytest

from redub.core.errors import ClipError, ModelRefusedError
from redub.features.models.deepfilternet.library import MODEL
from redub.features.models.native.child import NativeChild
from tests.features.made_library import made_library, publish, recorded

WALL_S = 60.0
SOUND = np.sin(np.arange(5_000) / 20).astype(np.float32)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return made_library(tmp_path_factory.mktemp("library") / "df", drift=1e-3)


@pytest.fixture
def child(library):
    made = NativeChild("deepfilternet", library)
    yield made
    made.close()


def test_the_answer_is_not_late_and_has_the_length_of_the_question(tmp_path):
    child = NativeChild("deepfilternet", made_library(tmp_path / "df"))
    for length in (1, 479, 480, 481, 5_000):
        np.testing.assert_array_equal(child.run(SOUND[:length], wall_s=WALL_S), SOUND[:length] / 2)
    child.close()


def test_every_array_meets_the_first_state_of_the_library(child):
    """The library counts its frames, so a kept state would add to the second answer."""
    first = child.run(SOUND, wall_s=WALL_S)
    child.run(-SOUND, wall_s=WALL_S)
    again = child.run(SOUND, wall_s=WALL_S)
    assert first.max() > 0.5  # the drift is in the answer
    assert first.tobytes() == again.tobytes()


def test_a_crash_costs_one_array(child):
    before = child.run(SOUND, wall_s=WALL_S)
    pid = child._child.pid
    with pytest.raises(ClipError, match="SIGABRT") as caught:
        child.run(np.full(600, 3, np.float32), wall_s=WALL_S)
    assert caught.value.code == "E-MODEL-CRASH"
    assert child.run(SOUND, wall_s=WALL_S).tobytes() == before.tobytes()
    assert child._child.pid == pid  # only a fork of the process died


def test_a_library_that_hangs_is_stopped(child):
    child.run(SOUND, wall_s=WALL_S)
    with pytest.raises(ClipError, match="stopped") as caught:
        child.run(np.full(600, -3, np.float32), wall_s=0.5)
    assert caught.value.code == "E-MODEL-TIMEOUT"
    assert len(child.run(SOUND, wall_s=WALL_S)) == len(SOUND)


def test_a_child_that_was_killed_is_replaced(child):
    before = child.run(SOUND, wall_s=WALL_S)
    os.kill(child._child.pid, signal.SIGKILL)
    assert child.run(SOUND, wall_s=WALL_S).tobytes() == before.tobytes()


def test_a_closed_child_leaves_no_process(child):
    child.run(SOUND, wall_s=WALL_S)
    pid = child._child.pid
    child.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_process_outlives_a_question_that_hangs(child):
    """The fork that hangs ends with the child."""
    child.run(SOUND, wall_s=WALL_S)
    pid = child._child.pid
    with pytest.raises(ClipError):
        child.run(np.full(600, -3, np.float32), wall_s=0.5)
    end_s = time.monotonic() + 30
    while _group(pid):
        assert time.monotonic() < end_s, _group(pid)
        time.sleep(0.05)


def _group(group):
    """The processes of a process group that still run."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if entry.isdigit() and int(fields[2]) == group and fields[0] != "Z":
            found.append(entry)
    return found


@pytest.mark.parametrize("spoilt", ["library", "network"])
def test_a_changed_file_is_refused_before_the_library_is_loaded(tmp_path, monkeypatch, spoilt):
    folder = made_library(tmp_path / "df")
    mark = tmp_path / "loaded"
    monkeypatch.setenv("REDUB_TEST_LOADED", str(mark))
    name = MODEL if spoilt == "network" else next(n for n in folder.files if n.endswith(".so"))
    with (folder.path / name).open("ab") as file:
        file.write(b"more")
    child = NativeChild("deepfilternet", folder)
    with pytest.raises(ModelRefusedError, match="not the recorded file") as caught:
        child.run(SOUND, wall_s=WALL_S)
    child.close()
    assert caught.value.code == "E-MODEL-CHANGED"
    assert name in caught.value.message
    assert not mark.exists()
    child = NativeChild("deepfilternet", recorded(folder.path))  # the same mark appears if loaded
    if spoilt == "network":
        child.run(SOUND, wall_s=WALL_S)
        assert mark.exists()
    child.close()


def test_a_library_that_the_package_does_not_publish_is_never_loaded(tmp_path, monkeypatch):
    """A models.lock from a stranger may name any file and its right digest."""
    folder = made_library(tmp_path / "df", drift=0.25)
    mark = tmp_path / "loaded"
    monkeypatch.setenv("REDUB_TEST_LOADED", str(mark))
    library = next(name for name in folder.files if name.endswith(".so"))
    with (folder.path / library).open("ab") as file:
        file.write(b"more")
    child = NativeChild("deepfilternet", recorded(folder.path))
    with pytest.raises(ModelRefusedError, match="not the published library") as caught:
        child.run(SOUND, wall_s=WALL_S)
    assert caught.value.code == "E-MODEL-CODE"
    assert not mark.exists()


def test_what_is_no_library_or_no_network_is_refused(tmp_path):
    folder = made_library(tmp_path / "df").path
    (folder / MODEL).write_bytes(b"")  # the made library refuses an empty network
    with pytest.raises(ModelRefusedError, match="no network") as caught:
        NativeChild("deepfilternet", recorded(folder)).run(SOUND, wall_s=WALL_S)
    assert caught.value.code == "E-MODEL-FILE"
    library = next(path for path in folder.iterdir() if path.suffix == ".so")
    library.write_bytes(b"not a library")
    publish(library)
    with pytest.raises(ModelRefusedError, match="cannot be loaded"):
        NativeChild("deepfilternet", recorded(folder)).run(SOUND, wall_s=WALL_S)
    library.unlink()
    with pytest.raises(ModelRefusedError, match="0 libraries for this system"):
        NativeChild("deepfilternet", recorded(folder)).run(SOUND, wall_s=WALL_S)
