"""Training that SIGINT or SIGTERM stopped saves its step and ends like training that went on."""

import json

import pytest
import torch

from redub.core.durable import TEMP_PREFIX
from redub.training import checkpoint
from tests.training.killed_runs import CONFIG
from tests.training.stopped_runs import STEPS, STOPS, main
from tests.training.test_killed_training import tensors
from tests.typed import forked


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    root = tmp_path_factory.mktemp("stopped")
    done = forked(main, root)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said.pop("whole") == 0
    return root, said


@pytest.mark.parametrize(("name", "status"), [("INT", 130), ("TERM", 143), ("last", 130)])
def test_a_signal_saves_the_step_at_hand(stopped, name, status):
    assert stopped[1][name] == [status, STOPS[name], 0]


def test_a_second_signal_while_saving_leaves_the_checkpoint_before_whole(stopped):
    # Stopped at step 18 and again in that save: 14 is the last multiple of checkpoint_every.
    assert CONFIG.checkpoint_every == 7
    assert stopped[1]["twice"] == [130, 14, 0]


@pytest.mark.parametrize("name", [*STOPS, "twice"])
def test_the_resumed_run_has_the_bytes_of_one_that_was_never_stopped(stopped, name):
    root, _ = stopped
    whole, found = (checkpoint.newest(root / run / "checkpoints") for run in ("whole", name))
    assert found.step == whole.step == STEPS
    assert found.record == whole.record
    assert found.validation_loss == whole.validation_loss
    wanted = tensors({"weights": dict(whole.weights), "state": dict(whole.state)})
    ours = tensors({"weights": dict(found.weights), "state": dict(found.state)})
    assert ours.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.equal(value, ours[key]) if torch.is_tensor(value) else value == ours[key], key
    rows = (root / name / "metrics.jsonl").read_bytes()
    assert rows == (root / "whole" / "metrics.jsonl").read_bytes()
    assert not list((root / name / "checkpoints").glob(f"{TEMP_PREFIX}*"))
