"""One process that trains in children and stops them; run by test_stopped_training.py.

Torch is used on one thread only, which a fork keeps.
"""

import contextlib
import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import torch

from redub.core import durable, stopping
from redub.core.stopping import SAME_PRESS_S, Stopped, deferred
from redub.training import checkpoint
from tests.training.killed_runs import CONFIG, SMALL
from tests.training.made import SOUND, make_lines, train

STEPS = 30
# Mid-epoch, a step that is validated and saved anyway, and the last step.
STOPS = {"INT": 11, "TERM": 25, "last": STEPS}


def trained(folder, *, at_step=None, number=signal.SIGINT, again=False):
    """Train in a child that gets a signal after a step; with ``again`` twice, while it saves."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.setsid()
    stopping.listen(lambda text: None)
    with contextlib.suppress(Exception):
        try:
            train_here(folder, at_step, number, again)
        except Stopped as stopped:
            os._exit(stopped.exit_code)
        os._exit(0)
    os._exit(1)


def train_here(folder, at_step=None, number=signal.SIGINT, again=False):
    random.seed(0)  # every child has another seed; a checkpoint keeps this state, too
    flush, asked = durable.sync_file, []

    def slow_flush(path):
        if asked and again:
            os.killpg(0, number)  # the second press finds a checkpoint half-written
            time.sleep(60)
        flush(path)

    def progress(report):
        if report.step == at_step:
            os.killpg(0, number)
            asked.append(number)
            time.sleep(2 * SAME_PRESS_S if again else 0)

    durable.sync_file = slow_flush
    lines = make_lines()
    with deferred() as signalled:
        report = train(lines[:8], lines[8:], CONFIG, folder, model_config=SMALL, audio=SOUND,
                       max_steps=STEPS, progress=progress,
                       stop=lambda: bool(signalled()))  # fmt: skip
        if signalled():
            raise Stopped(signalled(), is_complete=not report.stopped)


def main(root):
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        train_here(Path(folder))  # what torch loads at a first step, children have from here
    said = {"whole": trained(root / "whole")}
    for name, step in STOPS.items():
        number = signal.SIGTERM if name == "TERM" else signal.SIGINT
        status = trained(root / name, at_step=step, number=number)
        saved = checkpoint.newest(root / name / "checkpoints").step
        said[name] = [status, saved, trained(root / name)]
    status = trained(root / "twice", at_step=18, again=True)
    saved = checkpoint.newest(root / "twice" / "checkpoints").step
    said["twice"] = [status, saved, trained(root / "twice")]
    print(json.dumps(said), flush=True)
