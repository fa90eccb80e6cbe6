"""A run of several processes is the run of one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from redub.core.errors import ConfigError
from redub.training import checkpoint
from redub.training.epoch_plan import batch_seed
from redub.training.replicas import ALONE, Replicas
from tests.training.made import QUICK, SMALL, SOUND, make_lines, train
from tests.training.replicated_runs import in_place_of_torchrun
from tests.typed import forked_together

ROOT = Path(__file__).parents[2]


def under_torchrun(folder, processes, steps, accumulate):
    words = [sys.executable]
    if processes > 1:
        words += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
        words += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
        words += ["--local-addr", "127.0.0.1"]
    words += ["-m", "tests.training.replicated_runs", folder, str(steps), str(accumulate)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def in_forks(folder, processes, steps, accumulate):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = (processes, port, folder, steps, accumulate)
    for done in forked_together(
        in_place_of_torchrun, [(rank, *words) for rank in range(processes)]
    ):
        assert done.returncode == 0, done.stderr[-3000:]


def rows(folder):
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("replicated", "steps"),
    [(in_forks, 7), pytest.param(under_torchrun, 20, marks=pytest.mark.slow)],
)
def test_two_processes_take_the_steps_of_one_at_the_same_global_batch(tmp_path, replicated, steps):
    # 8 lines make 5 batches of an epoch: every third step has one batch, the last of its epoch.
    for processes, name in ((1, "one"), (2, "two")):
        replicated(tmp_path / name, processes, steps, 2)
    one, two = (checkpoint.newest(tmp_path / name / "checkpoints") for name in ("one", "two"))
    assert one.step == two.step == steps
    assert two.state["epoch"] == one.state["epoch"] >= steps // 5
    for name, value in one.weights.items():
        torch.testing.assert_close(two.weights[name], value, rtol=1e-6, atol=1e-6)
    wanted, found = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert [row["step"] for row in found] == [row["step"] for row in wanted]
    for row, other in zip(wanted, found, strict=True):
        for name, value in row.items():
            assert other[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def test_a_step_must_have_a_batch_for_every_process(tmp_path):
    lines = make_lines()
    with pytest.raises(ConfigError, match="accumulate is 1, with 2 processes") as raised:
        train(
            lines[:8], lines[8:], QUICK, tmp_path, model_config=SMALL, audio=SOUND,
            max_steps=2, replicas=Replicas(rank=0, count=2),
        )  # fmt: skip
    assert raised.value.code == "E-TRAIN-REPLICAS"


def test_every_batch_is_one_processes_own():
    own = [list(Replicas(rank, 3).own(7)) for rank in range(3)]
    assert own == [[0, 3, 6], [1, 4], [2, 5]]
    assert list(ALONE.own(3)) == [0, 1, 2]
    assert list(Replicas(2, 3).own(2)) == []


def test_batches_draw_from_seeds_of_their_own():
    seeds = {batch_seed(s, e, b) for s in range(3) for e in range(5) for b in range(7)}
    assert len(seeds) == 3 * 5 * 7
    assert all(0 <= seed < 2**63 for seed in seeds)
