import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from redub.core.durable import file_digest
from redub.core.errors import IntegrityError, ModelRefusedError, StorageError
from redub.training import checkpoint
from redub.training.checkpoint import Snapshot


def snapshot(step, *, loss=None):
    return Snapshot(
        step=step,
        weights={"w": torch.full((2,), float(step))},
        state={"epoch": step, "random": checkpoint.random_states()},
        record={"system": "test"},
        validation_loss=loss,
    )


def steps(root):
    return [int(path.name.removeprefix("step_")) for path in checkpoint.steps_in(root)]


def test_what_was_written_is_read(tmp_path):
    directory = checkpoint.write(tmp_path, snapshot(7, loss=0.5), keep=3)
    assert directory.name == "step_00000007"
    again = checkpoint.read(directory)
    assert (again.step, again.validation_loss, again.record) == (7, 0.5, {"system": "test"})
    assert again.weights["w"].tolist() == [7.0, 7.0]
    assert again.state["epoch"] == 7
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000007"]


@pytest.mark.parametrize("file", ["weights.safetensors", "state.pt", "config.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(tmp_path, caplog, file, damage):
    checkpoint.write(tmp_path, snapshot(1), keep=3)
    path = checkpoint.write(tmp_path, snapshot(2), keep=3) / file
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.unlink()
    with pytest.raises(IntegrityError, match=file.partition(".")[0]):
        checkpoint.read(path.parent)
    assert checkpoint.newest(tmp_path).step == 1
    assert "step_00000002 is damaged and was skipped" in caplog.text


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (None, "written by redub 0.1 .format 1; .* train the run again"),
        (9, "newer redub .format 9"),
    ],
)
def test_a_checkpoint_of_another_format_is_refused_with_what_to_do(tmp_path, written, sentence):
    path = checkpoint.write(tmp_path, snapshot(2, loss=1.0), keep=3)
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest.pop("format") == checkpoint.FORMAT
    if written is not None:
        manifest["format"] = written
    (path / "manifest.json").write_text(json.dumps(manifest))
    for read in (lambda: checkpoint.read(path), lambda: checkpoint.newest(tmp_path)):
        with pytest.raises(ModelRefusedError, match=sentence):
            read()


@pytest.mark.parametrize("manifest", [None, b"", b"{", b"{}", b'{"sha256": {}, "step": 2}'])
def test_a_checkpoint_without_a_whole_manifest_is_none(tmp_path, manifest):
    checkpoint.write(tmp_path, snapshot(1, loss=3.0), keep=3)
    path = checkpoint.write(tmp_path, snapshot(2, loss=1.0), keep=3) / "manifest.json"
    path.unlink()
    if manifest is not None:
        path.write_bytes(manifest)
    assert checkpoint.newest(tmp_path).step == 1
    assert checkpoint.best(tmp_path).name == "step_00000001"


def test_a_write_that_is_killed_half_way_is_never_seen(tmp_path, monkeypatch):
    checkpoint.write(tmp_path, snapshot(1), keep=3)

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    monkeypatch.setattr(checkpoint, "file_digest", killed)
    with pytest.raises(Killed):
        checkpoint.write(tmp_path, snapshot(2), keep=3)
    monkeypatch.undo()
    assert steps(tmp_path) == [1]
    checkpoint.write(tmp_path, snapshot(2), keep=3)
    assert checkpoint.newest(tmp_path).step == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(StorageError, match="step_00000001"):
        checkpoint.write(tmp_path / "file", snapshot(1), keep=1)


def test_the_newest_and_the_best_are_kept(tmp_path):
    for step, loss in ((1, 0.9), (2, 0.3), (3, 0.5), (4, None), (5, 0.6)):
        checkpoint.write(tmp_path, snapshot(step, loss=loss), keep=2)
    assert steps(tmp_path) == [5, 4, 2]
    assert checkpoint.best(tmp_path).name == "step_00000002"


def test_as_many_of_the_best_are_kept_as_asked_for(tmp_path):
    for step, loss in ((1, 0.2), (2, 0.3), (3, 0.5), (4, 0.4), (5, 0.6)):
        checkpoint.write(tmp_path, snapshot(step, loss=loss), keep=1, keep_best=2)
    assert steps(tmp_path) == [5, 2, 1]
    assert checkpoint.best(tmp_path).name == "step_00000001"


FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from redub.core.errors import StorageError
from redub.training import checkpoint

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
for weights, state in ((100_000, 10), (10, 100_000)):
    snapshot = checkpoint.Snapshot(
        step=2, weights={"a": torch.zeros(weights)}, state={"b": torch.zeros(state)}, record={}
    )
    try:
        checkpoint.write(Path(sys.argv[1]), snapshot, keep=2)
    except StorageError as error:
        print(error)
"""


def test_a_full_disk_is_a_sentence_and_leaves_the_last_checkpoint_and_nothing_else(tmp_path):
    checkpoint.write(tmp_path, snapshot(1), keep=3)
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("cannot write checkpoint") == done.stdout.count("File too large") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]
    assert checkpoint.newest(tmp_path).step == 1


def test_without_validation_the_newest_is_the_best(tmp_path):
    assert checkpoint.best(tmp_path) is None
    assert checkpoint.newest(tmp_path) is None
    for step in (1, 2):
        checkpoint.write(tmp_path, snapshot(step), keep=2)
    assert checkpoint.best(tmp_path).name == "step_00000002"


def test_a_step_written_again_replaces_the_old_one(tmp_path):
    checkpoint.write(tmp_path, snapshot(4, loss=0.9), keep=2)
    checkpoint.write(tmp_path, snapshot(4, loss=0.1), keep=2)
    assert checkpoint.read(checkpoint.directory_of(tmp_path, 4)).validation_loss == 0.1


def draws():
    legacy = np.random.random()  # noqa: NPY002
    gauss = np.random.standard_normal()  # noqa: NPY002
    return torch.rand(3).tolist(), legacy, gauss, random.random(), random.gauss(0, 1)


def test_all_three_random_states_come_back_through_the_file(tmp_path):
    draws()  # an odd number of normals, so that the cached second one counts
    directory = checkpoint.write(tmp_path, snapshot(1), keep=1)
    expected = draws()
    draws()
    checkpoint.restore_random_states(checkpoint.read(directory).state["random"])
    assert draws() == expected


def test_a_state_that_would_run_code_is_refused(tmp_path):
    directory = checkpoint.write(tmp_path, snapshot(1), keep=1)
    torch.save({"epoch": print}, directory / "state.pt")
    manifest = (directory / "manifest.json").read_text()
    old = checkpoint.Manifest.read(directory / "manifest.json").sha256["state.pt"]
    new = file_digest(directory / "state.pt")
    (directory / "manifest.json").write_text(manifest.replace(old, new))
    with pytest.raises(IntegrityError, match=r"state\.pt cannot be loaded"):
        checkpoint.read(directory)
