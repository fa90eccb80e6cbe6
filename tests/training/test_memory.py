"""Memory runs out once: batches are halved, no line is lost, a resumed run goes on like that."""

import logging
from collections import Counter
from dataclasses import replace

import pytest
import torch

import redub.training.step as steps
from redub.training import checkpoint
from redub.training.batching import BatchingConfig
from redub.training.epoch_plan import halves
from redub.training.step import OutOfMemoryError
from tests.training.made import QUICK, SMALL, SOUND, make_lines, train

ROOMY = replace(QUICK, batching=BatchingConfig(frames_per_batch=400, lines_per_batch=4))


@pytest.fixture
def small_machine(monkeypatch):
    """A machine with room for two lines; what was learnt from there, by step."""
    learnt = []
    learn = steps._learn

    def within(learner, batch, *others):
        if len(batch.clip_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        learnt.append((learner.step, batch.clip_ids))
        return learn(learner, batch, *others)

    monkeypatch.setattr(steps, "_learn", within)
    return learnt


def go(folder, count, *, config=ROOMY):
    lines = make_lines()
    return train(lines[:8], [], config, folder, model_config=SMALL, audio=SOUND, max_steps=count)


def test_a_batch_is_halved_once_and_every_line_is_still_seen(small_machine, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        report = go(tmp_path, 8)  # two epochs of 8 lines by 2
    assert report.last_step == 8
    said = [row.message for row in caplog.records if "From here on" in row.message]
    assert len(said) == 1
    assert "at most 200 frames instead of 400" in said[0]
    assert "Tried to allocate 2.00 GiB" in said[0]
    assert "clip" in said[0]
    for epoch in (range(4), range(4, 8)):
        seen = Counter(c for step, clips in small_machine if step in epoch for c in clips)
        assert seen == Counter(f"clip{number}" for number in range(8))


def test_a_resumed_run_stays_halved(small_machine, tmp_path):
    go(tmp_path / "whole", 7)
    go(tmp_path / "halves", 2)
    seen = small_machine.copy()
    small_machine.clear()
    go(tmp_path / "halves", 7)
    assert small_machine[0][0] == 2  # it does not run out of memory again
    whole, resumed = (
        checkpoint.newest(tmp_path / name / "checkpoints") for name in ("whole", "halves")
    )
    assert whole.state["halved_at"] == resumed.state["halved_at"] == [0, 0]
    for name, value in whole.weights.items():
        assert torch.equal(value, resumed.weights[name]), name
    assert [clips for _, clips in seen[-2:]] == [clips for _, clips in seen[:2]]


def test_a_second_time_ends_the_run_and_leaves_the_parameters(monkeypatch, tmp_path):
    def never(*_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")

    go(tmp_path, 2)
    before = checkpoint.newest(tmp_path / "checkpoints")
    monkeypatch.setattr(steps, "_learn", never)
    with pytest.raises(OutOfMemoryError, match="no memory for a batch of clip") as raised:
        go(tmp_path, 4)
    assert raised.value.code == "E-TRAIN-MEMORY"
    after = checkpoint.newest(tmp_path / "checkpoints")
    assert after.step == 2
    for name, value in before.weights.items():
        assert torch.equal(value, after.weights[name])


def test_other_errors_of_torch_are_not_taken_for_it(monkeypatch, tmp_path):
    def broken(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(steps, "_learn", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        go(tmp_path, 1)


def test_halves_hold_all_lines_and_none_is_empty():
    assert halves([1, 2, 3]) == [[1, 2], [3]]
    assert halves([1]) == [[1]]
    assert halves([4, 5]) == [[4], [5]]
