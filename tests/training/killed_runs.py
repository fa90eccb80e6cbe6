"""One process that trains in children and kills them; run by test_killed_training.py.

    python -m tests.training.killed_runs FOLDER

Torch is imported once and used in children only, so forking is safe and cheap.
"""

import contextlib
import json
import os
import random
import signal
import sys
from pathlib import Path

import torch

from redub.training import checkpoint
from redub.training.trainer import train
from tests.training.made import QUICK, SMALL, SOUND, make_lines

HALF, STEPS, KILLS = 8, 14, 10


def trained(folder, steps, *, at_step=None, at_flush=None):
    """Train in a child that kills itself after a step, or before the n-th flush of a save."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    torch.set_num_threads(1)
    random.seed(0)  # Python seeds anew in every child; a checkpoint keeps this state, too
    flush, left = checkpoint._flush, [at_flush]

    def flushed(descriptor):
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    def progress(report):
        if report.step == at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint._flush = flushed
    lines = make_lines()
    with contextlib.suppress(BaseException):
        train(lines[:8], lines[8:], QUICK, folder, model_config=SMALL, audio=SOUND,
              max_steps=steps, progress=progress)  # fmt: skip
        os._exit(0)
    os._exit(1)


def main(root):
    draw = random.Random(0)
    said = {"whole": trained(root / "whole", STEPS), "kills": []}
    for number in range(KILLS):
        folder = root / f"killed_{number}"
        if number % 2:  # during a save: each flushes four files, of which the last is the manifest
            fault = {"at_flush": draw.randrange(4 * STEPS // QUICK.checkpoint_every)}
        else:  # after any step, which is mid-epoch for most
            fault = {"at_step": draw.randrange(1, STEPS)}
        first = trained(folder, HALF) if number == 0 else 0
        died = trained(folder, STEPS, **({"at_step": 11} if number == 0 else fault))
        said["kills"].append([first, died, trained(folder, STEPS), fault])
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
