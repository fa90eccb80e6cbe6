"""One process that trains in children and kills them; run by test_killed_training.py.

Torch is used on one thread only, which a fork keeps.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from redub.core import durable
from redub.model.systems.fastspeech2 import FastSpeech2
from tests.training.made import QUICK, SOUND, make_lines, train

# The system with the cheapest steps: what is tested is the trainer's, and it takes many of them.
# Half of the steps must be a multiple of ``validate_every``: every run validates at its end.
CONFIG = replace(QUICK, system="fastspeech2", validate_every=25, checkpoint_every=7)
SMALL = replace(
    FastSpeech2.PRESETS["tiny"], width=16, filter_width=16, decoder_layers=1, postnet_channels=4,
    dropout=0.1,
)  # fmt: skip


def trained(folder, steps, *, at_step=None, at_flush=None):
    """Train in a child that kills itself after a step, or before the n-th flush of a save."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BaseException):
        train_here(folder, steps, at_step=at_step, at_flush=at_flush)
        os._exit(0)
    os._exit(1)


def train_here(folder, steps, *, at_step=None, at_flush=None):
    random.seed(0)  # every child has another seed; a checkpoint keeps this state, too
    flush, left = durable.sync_file, [at_flush]

    def flushed(path):
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        flush(path)

    def progress(report):
        if report.step == at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    durable.sync_file = flushed
    lines = make_lines()
    train(lines[:8], lines[8:], CONFIG, folder, model_config=SMALL, audio=SOUND,
          max_steps=steps, progress=progress)  # fmt: skip


def main(root, steps, kills):
    half = steps // 2
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        train_here(Path(folder), 1)  # what torch loads at a first step, children have from here
    draw = random.Random(0)
    said = {"whole": trained(root / "whole", steps), "half": trained(root / "half", half)}
    said["kills"] = []
    for number in range(kills):
        folder = root / f"killed_{number}"
        shutil.copytree(root / "half", folder)
        if number % 2:  # during a save: each flushes four files, before the rename
            saves = steps // CONFIG.checkpoint_every - half // CONFIG.checkpoint_every
            fault = {"at_flush": draw.randrange(4 * saves)}
        else:  # after any step, which is mid-epoch for most
            fault = {"at_step": draw.randrange(half + 1, steps)}
        died = trained(folder, steps, **fault)
        said["kills"].append([died, trained(folder, steps), fault])
    print(json.dumps(said), flush=True)
