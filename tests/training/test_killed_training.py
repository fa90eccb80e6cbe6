"""Training that was killed anywhere ends with the bytes of training that was not."""

import json

import pytest
import torch

from redub.training import checkpoint
from tests.training.killed_runs import main
from tests.typed import forked


def tensors(value, name=""):
    """Every tensor and number of nested containers, by its path."""
    if isinstance(value, dict):
        return {k: v for key in value for k, v in tensors(value[key], f"{name}/{key}").items()}
    if isinstance(value, list | tuple):
        pairs = enumerate(value)
        return {k: v for n, part in pairs for k, v in tensors(part, f"{name}/{n}").items()}
    return {name: value}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "kills"),
    [
        # One after a step, one during a save; then five of each, anywhere in a longer run.
        pytest.param(50, 2, id="two"),
        pytest.param(100, 10, id="ten"),
    ],
)
def test_steps_killed_at_some_places_end_like_steps_that_were_not(tmp_path, steps, kills):
    done = forked(main, tmp_path, steps, kills)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["whole"], said["half"]) == (0, 0)
    assert len(said["kills"]) == kills
    whole = checkpoint.newest(tmp_path / "whole" / "checkpoints")
    wanted = tensors({"weights": dict(whole.weights), "state": dict(whole.state)})
    assert whole.step == steps
    assert checkpoint.newest(tmp_path / "half" / "checkpoints").step == steps // 2
    for number, (died, resumed, fault) in enumerate(said["kills"]):
        assert (died, resumed) == (-9, 0), fault
        folder = tmp_path / f"killed_{number}"
        found = checkpoint.newest(folder / "checkpoints")
        assert found.step == steps
        assert found.record == whole.record
        ours = tensors({"weights": dict(found.weights), "state": dict(found.state)})
        assert ours.keys() == wanted.keys()
        for name, value in wanted.items():
            same = torch.equal(value, ours[name]) if torch.is_tensor(value) else value == ours[name]
            assert same, (fault, name)
        rows = (folder / "metrics.jsonl").read_bytes()
        assert rows == (tmp_path / "whole" / "metrics.jsonl").read_bytes(), fault
